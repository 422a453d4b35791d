"""
Thousands of retrainings under a drift that never ends, on a real node.

A belt whose garments turn back and forth by 60 degrees, one period in 200 retrainings; an
operator who corrects what is predicted wrongly and nothing else. Checked at the end: the memory of
the node against what it was after 200 retrainings, the accuracy of the last period against that
after the first 100 retrainings, the chain of the audit log. Writes out/bench/soak.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time
from typing import Any

import cv2
import numpy as np

from benchmark.cells import ROOT
from instantft_ros.demo.belt import Belt, Drift, STATION

sys.path.insert(0, str(ROOT / 'test' / 'nodes'))
from harness import image_of, resident_mb, Robot
from harness import robot as make_robot

PERIOD, DEGREES = 200, 60.0

#: What must hold: growth of the memory, and fall of the accuracy, percent points.
MEMORY_PERCENT, ACCURACY_POINTS = 5.0, 0.0


def main() -> int:
    """Run it; an exit code that says whether everything held."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.soak', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--retrainings', type=int, default=2000,
                        help=f'how many, at least {3 * PERIOD} (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=ROOT / 'out/bench/soak.json')
    args = parser.parse_args()
    if args.retrainings < 3 * PERIOD:
        parser.error(f'--retrainings must be at least {3 * PERIOD}, got {args.retrainings}')
    with tempfile.TemporaryDirectory() as folder:
        result = _soak(Path(folder), args.retrainings)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + '\n')
    for key, value in result.items():
        if key != 'course':
            print(f'{key:34} {value}')
    return 0 if all(result['held'].values()) else 1


def _soak(folder: Path, retrainings: int) -> dict[str, Any]:
    state = folder / 'state'
    with make_robot(folder) as robot:
        robot.belt = Belt(seed=1, drift=Drift(1e9, 1e9), dwell=1)
        classifier = robot.start_classifier(
            state_directory=str(state), cache_capacity=512, recency_s=20.0, holdout_share=0.1,
            keep_versions=200)
        course, right, index, began_s = [], [], 0, time.monotonic()
        told = 0
        while robot.status.trainings < retrainings:
            index += 1
            trained = robot.status.trainings
            right.append(_step(robot, index, DEGREES * math.sin(
                2 * math.pi * trained / PERIOD)))
            if trained >= told + 50:
                told = trained
                course.append({'retrainings': trained, 'frames': index,
                               'accuracy': 100 * float(np.mean(right)),
                               'mb': resident_mb(classifier.pid)})
                right = []
                left_s = (time.monotonic() - began_s) / trained * (retrainings - trained)
                print(f'{trained} retrainings, {course[-1]["accuracy"]:.1f} %, classifier '
                      f'{course[-1]["mb"]:.0f} MB, {robot.status.trainings_refused} refused, '
                      f'{robot.status.rollbacks} rollbacks; about {left_s:.0f} s left',
                      flush=True)
        status = robot.status
        robot.spin(3.0)
        assert classifier.stop() == 0
    verified = subprocess.run([sys.executable, '-m', 'instantft_ros', 'versions', 'verify',
                               str(state)], capture_output=True, text=True, check=False)
    print(verified.stdout[-1500:], verified.stderr[-500:])
    return _result(course, status, index, time.monotonic() - began_s, verified.returncode == 0,
                   sum(path.stat().st_size for path in state.iterdir()))


def _step(robot: Robot, index: int, degrees: float) -> bool:
    """Show a garment turned so far; correct it when it is taken for another one."""
    x, y, width, height = STATION
    frame = robot.belt.frame(index)
    turn = cv2.getRotationMatrix2D((x + width / 2, y + height / 2), degrees, 1.0)
    frame = cv2.warpAffine(frame, turn, (frame.shape[1], frame.shape[0]))
    robot.images.publish(image_of(frame, index))
    prediction = robot.wait(lambda: robot.predictions.pop(index, None))
    if prediction.class_id == robot.belt.label(index):
        return True
    robot.correct(index)
    robot.acks.clear()
    return False


def _result(course: list[dict[str, Any]], status: Any, frames: int, seconds: float,
            verified: bool, state_bytes: int) -> dict[str, Any]:
    early = next(each for each in course if each['retrainings'] >= PERIOD)
    growth = 100 * (course[-1]['mb'] / early['mb'] - 1)

    def accuracy(first: int, last: int) -> float:
        return float(np.mean([each['accuracy'] for each in course
                              if first < each['retrainings'] <= last]))

    last = course[-1]['retrainings']
    after_100, at_the_end = accuracy(100, 100 + PERIOD), accuracy(last - PERIOD, last)
    return {
        'retrainings': int(status.trainings), 'refused': int(status.trainings_refused),
        'failed': int(status.trainings_failed), 'rollbacks': int(status.rollbacks),
        'frames': frames, 'minutes': round(seconds / 60, 1), 'cores': os.cpu_count(),
        'memory_growth_percent': round(growth, 2),
        'accuracy_after_100': round(after_100, 2), 'accuracy_at_the_end': round(at_the_end, 2),
        'state_directory_mb': round(state_bytes / 1e6, 1),
        'held': {'memory flat within 5 %': growth <= MEMORY_PERCENT,
                 'accuracy not below that after 100':
                     at_the_end >= after_100 - ACCURACY_POINTS,
                 'audit chain verified': verified},
        'course': course,
    }


if __name__ == '__main__':
    sys.exit(main())
