"""
What camera images cost between two processes on DDS: rate, loss, latency, processor share.

    scripts/in_env python -m benchmark.bandwidth

A publisher and a subscriber, each a Python process of its own, on the loopback: raw bgr8 and JPEG
of quality 90, VGA and 1080p, 30 Hz for 5 s; with Fast DDS as it comes and with config/fastdds.xml;
best effort with depth 5 (sensor-data QoS) and reliable with depth 10. Medians over 3 rounds, each
of which goes through all settings; about eight minutes. Writes out/bandwidth/results.json and
table.md.

Latency, of the images that arrived, is from just before `publish` to the start of the subscriber's
callback, by the one clock of the machine; it includes what rclpy takes for both conversions. MB/s
is what arrived of the images' data. Processor share is the publisher's, all threads, of one core,
while it publishes.

The picture is synthetic, with what makes photographs as large as they are: an amplitude spectrum
of 1/f in brightness and, weaker, in colour (Field, JOSA A 4(12), 1987), a lens that blurs by one
pixel, and sensor noise of 2 grey levels.
"""

from __future__ import annotations

import argparse
from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
import itertools
import json
import os
from pathlib import Path
import subprocess
import sys
import threading
import time
from typing import Any

from builtin_interfaces.msg import Time
import cv2
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from benchmark.cells import ROOT
from benchmark.run import machine
from instantft_ros.nodes import qos

RATE_HZ = 30.0
SIZES = {'VGA': (640, 480), '1080p': (1920, 1080)}
PROFILES = {'default': None, 'fastdds.xml': ROOT / 'config' / 'fastdds.xml'}
DEPTHS = {'best_effort': 5, 'reliable': 10}
JPEG_QUALITY = 90
DIFFERENT_PICTURES = 5

#: Longest wait for the other side, and for what is still under way after the last image, seconds.
PATIENCE_S, DRAIN_S = 20.0, 1.5


@dataclass(frozen=True)
class Setting:
    """One line of the table; `kind` is 'raw' or 'jpeg'."""

    size: str
    kind: str
    profile: str
    reliability: str


@dataclass(frozen=True)
class Measured:
    """
    One run: `image_mb` is the size of an image, `cpu` the publisher's share of a core.

    The latency is that of what arrived, None where nothing did.
    """

    sent: int
    received: int
    seconds: float
    image_mb: float
    latency_ms_p50: float | None
    latency_ms_p99: float | None
    cpu: float

    @property
    def mb_per_s(self) -> float:
        """Data of the images that arrived, MB (10^6 bytes) a second."""
        return self.received * self.image_mb / self.seconds

    @property
    def lost(self) -> float:
        """The share of images that never arrived."""
        return 1.0 - self.received / self.sent


def picture(width: int, height: int, seed: int) -> np.ndarray:
    """Draw (height, width, 3) uint8 with the spectrum of a photograph, and sensor noise."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf

    def plane() -> np.ndarray:
        spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / frequency
        field = np.fft.irfft2(spectrum, (height, width))
        normal: np.ndarray = field / field.std()
        return normal

    brightness = 120 + 45 * plane()
    scene = np.stack([brightness + 8 * plane() for _ in range(3)], axis=-1)
    through_lens = cv2.GaussianBlur(scene, (0, 0), 1.0)
    noisy = through_lens + rng.normal(0, 2, scene.shape)
    drawn: np.ndarray = np.clip(noisy, 0, 255).astype(np.uint8)
    return drawn


def messages(size: str, kind: str) -> list[Any]:
    """Make a few different messages, to be sent in turns."""
    width, height = SIZES[size]
    pictures = [picture(width, height, seed) for seed in range(DIFFERENT_PICTURES)]
    if kind == 'raw':
        return [Image(width=width, height=height, encoding='bgr8', step=3 * width,
                      data=array('B', each.tobytes())) for each in pictures]
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return [CompressedImage(format='bgr8; jpeg compressed bgr8', data=array(
        'B', cv2.imencode('.jpg', each, quality)[1].tobytes())) for each in pictures]


def codec_ms(size: str) -> dict[str, float]:
    """Give medians of encoding and decoding one picture, which the runs do not include."""
    image = picture(*SIZES[size], 0)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    encoded = cv2.imencode('.jpg', image, quality)[1]
    work: dict[str, Callable[[], object]] = {
        'encode': lambda: cv2.imencode('.jpg', image, quality),
        'decode': lambda: cv2.imdecode(encoded, cv2.IMREAD_COLOR)}
    times_ms: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(30):
        for name, function in work.items():
            started_s = time.perf_counter()
            function()
            times_ms[name].append(1e3 * (time.perf_counter() - started_s))
    return {name: float(np.median(each)) for name, each in times_ms.items()}


def publish(setting: Setting, seconds: float) -> dict[str, Any]:
    """Send images at a steady rate once someone listens; what was sent and what it took."""
    rclpy.init()
    node = Node('bandwidth_publisher')
    kind = Image if setting.kind == 'raw' else CompressedImage
    publisher = node.create_publisher(kind, 'image', qos.images(
        setting.reliability, DEPTHS[setting.reliability]))
    made = messages(setting.size, setting.kind)
    deadline_s = time.monotonic() + PATIENCE_S
    while publisher.get_subscription_count() == 0:
        if time.monotonic() > deadline_s:
            sys.exit('nobody subscribed')
        time.sleep(0.05)
    time.sleep(1.0)  # the subscriber's side of the discovery
    count, size = round(seconds * RATE_HZ), 0
    started_s, used_s = time.monotonic(), time.process_time()
    for number in range(count):
        message = made[number % len(made)]
        message.header.frame_id = str(number)
        now_ns = time.time_ns()
        message.header.stamp = Time(sec=now_ns // 10**9, nanosec=now_ns % 10**9)
        publisher.publish(message)
        size += len(message.data)
        time.sleep(max(0.0, started_s + (number + 1) / RATE_HZ - time.monotonic()))
    took_s = time.monotonic() - started_s
    cpu = (time.process_time() - used_s) / took_s
    time.sleep(DRAIN_S)  # reliable: what was lost is sent again
    return {'sent': count, 'seconds': took_s, 'image_mb': size / count / 1e6, 'cpu': cpu}


def subscribe(setting: Setting) -> dict[str, Any]:
    """Take in images until the standard input is closed."""
    rclpy.init()
    node = Node('bandwidth_subscriber')
    latencies_ms: dict[str, float] = {}

    def received(message: Any) -> None:
        now_ns = time.time_ns()
        stamp = message.header.stamp
        latencies_ms[message.header.frame_id] = (
            now_ns - stamp.sec * 10**9 - stamp.nanosec) / 1e6

    kind = Image if setting.kind == 'raw' else CompressedImage
    node.create_subscription(kind, 'image', received, qos.images(
        setting.reliability, DEPTHS[setting.reliability]))
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def wait_for_end() -> None:
        sys.stdin.read()
        rclpy.shutdown()

    threading.Thread(target=wait_for_end, daemon=True).start()
    with suppress(ExternalShutdownException):
        executor.spin()
    p50, p99 = np.percentile(list(latencies_ms.values()), (50, 99)) if latencies_ms \
        else (None, None)
    return {'received': len(latencies_ms), 'latency_ms_p50': p50, 'latency_ms_p99': p99}


def measure(setting: Setting, seconds: float, domain: int) -> Measured:
    """Run both sides once; ends them whatever happens."""
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain),
                   'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    environment.pop('FASTRTPS_DEFAULT_PROFILES_FILE', None)
    if (profile := PROFILES[setting.profile]) is not None:
        environment['FASTRTPS_DEFAULT_PROFILES_FILE'] = str(profile)
    processes = []
    try:
        for role in ('subscribe', 'publish'):
            processes.append(subprocess.Popen(
                [sys.executable, '-m', 'benchmark.bandwidth', '--role', role, '--setting',
                 json.dumps(asdict(setting)), '--seconds', str(seconds)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
                env=environment))
        subscriber, publisher = processes
        sent = publisher.communicate(timeout=seconds + 2 * PATIENCE_S)[0]
        got = subscriber.communicate(timeout=PATIENCE_S)[0]  # closes its input
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return Measured(**json.loads(sent.splitlines()[-1]), **json.loads(got.splitlines()[-1]))


def table(results: dict[Setting, list[Measured]]) -> str:
    """Write medians over the rounds as a table."""
    lines = ['| image | MB each | Fast DDS | QoS | MB/s | lost % | latency p50, p99 ms | CPU % |',
             '| --- | --- | --- | --- | --- | --- | --- | --- |']
    for setting, rounds in results.items():
        def median(name: str, rounds: list[Measured] = rounds) -> float:
            values = [getattr(each, name) for each in rounds]
            known = [value for value in values if value is not None]
            return float(np.median(known)) if known else float('nan')

        lines.append(
            f'| {setting.size} {setting.kind} | {median("image_mb"):.2f} | {setting.profile} | '
            f'{setting.reliability.replace("_", " ")} | {median("mb_per_s"):.1f} | '
            f'{100 * median("lost"):.1f} | {median("latency_ms_p50"):.1f}, '
            f'{median("latency_ms_p99"):.1f} | {100 * median("cpu"):.0f} |')
    return '\n'.join(lines) + '\n'


def main() -> None:
    """Measure and write the results, or be one of the two sides."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.bandwidth', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=ROOT / 'out' / 'bandwidth')
    parser.add_argument('--seconds', type=float, default=5.0, help='of one run (default: 5)')
    parser.add_argument('--rounds', type=int, default=3, help='(default: 3)')
    parser.add_argument('--role', choices=('publish', 'subscribe'), help=argparse.SUPPRESS)
    parser.add_argument('--setting', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        setting = Setting(**json.loads(args.setting))
        print(json.dumps(publish(setting, args.seconds) if args.role == 'publish'
                         else subscribe(setting)))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    settings = [Setting(size, kind, profile, reliability)
                for size, kind, profile, reliability in itertools.product(
                    SIZES, ('raw', 'jpeg'), PROFILES, DEPTHS)]
    results: dict[Setting, list[Measured]] = {setting: [] for setting in settings}
    domain = 1 + os.getpid() % 100
    for number in range(args.rounds):
        for setting in settings:
            measured = measure(setting, args.seconds, domain)
            results[setting].append(measured)
            print(f'round {number + 1}: {setting.size} {setting.kind} {setting.profile} '
                  f'{setting.reliability}: {measured.mb_per_s:.1f} MB/s, '
                  f'{100 * measured.lost:.1f} % lost', flush=True)
    codecs_ms = {size: codec_ms(size) for size in SIZES}
    (args.out / 'results.json').write_text(json.dumps({
        'machine': machine(), 'seconds': args.seconds, 'jpeg_codec_ms': codecs_ms,
        'runs': [{**asdict(setting), 'rounds': [asdict(each) for each in rounds]}
                 for setting, rounds in results.items()]}, indent=1) + '\n')
    (args.out / 'table.md').write_text(table(results))
    print(table(results))
    for size, each in codecs_ms.items():
        print(f'{size}: JPEG encoding {each["encode"]:.1f} ms, decoding {each["decode"]:.1f} ms')


if __name__ == '__main__':
    main()
