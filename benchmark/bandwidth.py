"""
What a camera costs between two processes: bandwidth, loss, delay and CPU, by format and setting.

bgr8 and JPEG at VGA and 1080p, 30 Hz, one publisher and one subscriber in processes of their own
on real DDS, on the loopback; Fast DDS as it comes and with config/fastdds.xml; best effort with
depth 5 (sensor data) and reliable with depth 10. Rounds take turns; medians of them. Writes
out/bench/bandwidth.json and bandwidth.md.
"""

from __future__ import annotations

import argparse
from array import array
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from benchmark.cells import ROOT
from instantft_ros.demo.belt import Belt, Drift
from instantft_ros.demo.run import loopback_environment
from instantft_ros.nodes import qos

SIZES = {'VGA': (640, 480), '1080p': (1920, 1080)}
FORMATS = ('bgr8', 'jpeg')
PROFILES = {'as it comes': '', 'our profile': str(ROOT / 'config/fastdds.xml')}
RELIABILITIES = {'best_effort': 5, 'reliable': 10}
RATE_HZ = 30.0


def picture(size: str) -> np.ndarray:
    """Give a belt's image, enlarged, with a sensor's noise: neither flat nor all noise."""
    width, height = SIZES[size]
    frame = cv2.resize(Belt(seed=1, drift=Drift(), dwell=1).frame(5), (width, height),
                       interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(1).normal(0, 4, frame.shape)
    return np.asarray(np.clip(frame + noise, 0, 255), np.uint8)


def _publish(size: str, form: str, reliability: str, seconds: float) -> None:
    rclpy.init()
    node = Node('camera')
    image = picture(size)
    if form == 'jpeg':
        data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        message: Any = CompressedImage(format='jpeg', data=array('B', data))
    else:
        message = Image(height=image.shape[0], width=image.shape[1], encoding='bgr8',
                        step=3 * image.shape[1], data=array('B', image.tobytes()))
    publisher = node.create_publisher(type(message), 'image', qos.images(
        reliability, RELIABILITIES[reliability]))
    limit_s = time.monotonic() + 20.0
    while publisher.get_subscription_count() == 0 and time.monotonic() < limit_s:
        time.sleep(0.05)
    time.sleep(0.5)
    used_s, begin_s, sent = _cpu_s(), time.monotonic(), 0
    while (now_s := time.monotonic()) - begin_s < seconds:
        time.sleep(max(begin_s + sent / RATE_HZ - now_s, 0.0))
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
        sent += 1
    spent_s = time.monotonic() - begin_s
    print(json.dumps({'sent': sent, 'bytes': len(message.data),
                      'cpu_percent': 100 * (_cpu_s() - used_s) / spent_s}), flush=True)
    time.sleep(1.0)  # let the last ones arrive
    node.destroy_node()
    rclpy.shutdown()


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _listen(form: str, reliability: str, seconds: float) -> None:
    rclpy.init()
    node, delays_ms = Node('listener'), []

    def arrived(message: Any) -> None:
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        delays_ms.append((node.get_clock().now().nanoseconds - stamp_ns) / 1e6)

    node.create_subscription(CompressedImage if form == 'jpeg' else Image, 'image', arrived,
                             qos.images(reliability, RELIABILITIES[reliability]))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    limit_s, last_s = time.monotonic() + seconds + 25.0, time.monotonic() + 21.0
    seen = 0
    while time.monotonic() < min(limit_s, last_s):
        executor.spin_once(timeout_sec=0.1)
        if len(delays_ms) > seen:
            seen, last_s = len(delays_ms), time.monotonic() + 2.0
    print(json.dumps({'delays_ms': delays_ms}), flush=True)


def _measure(size: str, form: str, profile: str, reliability: str,
             seconds: float) -> dict[str, float]:
    environment = loopback_environment(os.environ)
    environment.pop('FASTRTPS_DEFAULT_PROFILES_FILE', None)
    if PROFILES[profile]:
        environment['FASTRTPS_DEFAULT_PROFILES_FILE'] = PROFILES[profile]
    me = [sys.executable, '-m', 'benchmark.bandwidth', '--size', size, '--format', form,
          '--reliability', reliability, '--seconds', str(seconds)]
    processes = [subprocess.Popen([*me, '--role', role], env=environment, cwd=ROOT, text=True,
                                  stdout=subprocess.PIPE) for role in ('listen', 'publish')]
    listened, published = (json.loads(process.communicate(timeout=seconds + 60)[0])
                           for process in processes)
    delays = listened['delays_ms'] or [float('nan')]
    return {'mb_per_s': published['bytes'] * RATE_HZ / 1e6,
            'lost_percent': 100 * (1 - len(listened['delays_ms']) / published['sent']),
            'delay_ms_p50': float(np.percentile(delays, 50)),
            'delay_ms_p99': float(np.percentile(delays, 99)),
            'cpu_percent': published['cpu_percent']}


def main() -> int:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.bandwidth', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=3, help='(default: %(default)s)')
    parser.add_argument('--seconds', type=float, default=5.0, help='each (default: %(default)s)')
    for name in ('role', 'size', 'format', 'reliability'):
        parser.add_argument(f'--{name}', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role == 'publish':
        _publish(args.size, args.format, args.reliability, args.seconds)
        return 0
    if args.role == 'listen':
        _listen(args.format, args.reliability, args.seconds)
        return 0
    cases = [(size, form, profile, reliability) for size in SIZES for form in FORMATS
             for profile in PROFILES for reliability in RELIABILITIES]
    found: dict[tuple[str, ...], list[dict[str, float]]] = {case: [] for case in cases}
    for number in range(args.rounds):
        for case in cases:
            found[case].append(_measure(*case, args.seconds))
            print(f'round {number + 1}: {" ".join(case)} '
                  f'{ {key: round(value, 1) for key, value in found[case][-1].items()} }',
                  flush=True)
    rows = [dict(zip(('size', 'format', 'fastdds', 'reliability'), case))
            | {key: float(np.median([each[key] for each in runs])) for key in runs[0]}
            for case, runs in found.items()]
    out = ROOT / 'out/bench'
    out.mkdir(parents=True, exist_ok=True)
    (out / 'bandwidth.json').write_text(json.dumps(rows, indent=2) + '\n')
    (out / 'bandwidth.md').write_text(table(rows))
    print(table(rows))
    return 0


def table(rows: list[dict[str, Any]]) -> str:
    """Lay the figures out in Markdown."""
    lines = ['| image, 30 Hz | MB/s | Fast DDS | reliability | lost, % | delay p50, ms | p99 | '
             'publisher, % of a core |', '| --- | --- | --- | --- | --- | --- | --- | --- |']
    lines += [f'| {row["size"]} {row["format"]} | {row["mb_per_s"]:.1f} | {row["fastdds"]} | '
              f'{row["reliability"].replace("_", " ")} | {row["lost_percent"]:.1f} | '
              f'{row["delay_ms_p50"]:.1f} | {row["delay_ms_p99"]:.1f} | '
              f'{row["cpu_percent"]:.0f} |' for row in rows]
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    sys.exit(main())
