"""The demo as a user starts it, shortened."""

import json
import subprocess
import sys

from harness import environment
from instantft_ros.demo.report import Log, summary, table
from instantft_ros.demo.world_parameters import WorldParameters

KEYS = {'accuracy_before_drift', 'accuracy_after_drift', 'accuracy_adapted',
        'accuracy_frozen_same_frames', 'corrections', 'retrainings', 'retrain_ms',
        'correction_to_prediction_ms', 'frames_published', 'predictions_published',
        'frames_lost', 'mixed_version_predictions'}


def test_short_demo_runs_and_checks_itself(tmp_path):
    out = tmp_path / 'demo'
    done = subprocess.run([sys.executable, '-m', 'instantft_ros.demo.run', '--out', str(out),
                           '--duration', '34'], env=environment(), capture_output=True,
                          text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((out / 'summary.json').read_text())
    assert figures.keys() >= KEYS
    assert figures['frames_published'] == 34 * 30
    assert figures['frames_lost'] == 0
    assert figures['mixed_version_predictions'] == 0
    assert figures['corrections'] > 5
    assert figures['retrainings'] > 0 and figures['retrainings_failed'] == 0
    assert figures['accuracy_before_drift'] > 80 > 30 > figures['accuracy_after_drift']
    assert figures['accuracy_adapted'] > figures['accuracy_frozen_same_frames']
    assert (out / 'accuracy.png').stat().st_size > 10_000
    assert 'accuracy adapted' in done.stdout


def test_a_node_that_dies_ends_the_demo_with_its_words(tmp_path):
    done = subprocess.run([sys.executable, '-m', 'instantft_ros.demo.run', '--out',
                           str(tmp_path), '--backend', 'abacus'], env=environment(),
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert 'accelerator ended with code 1' in done.stderr
    assert "got 'abacus'" in done.stderr


def test_summary_of_a_demo_without_predictions_has_no_numbers():
    import numpy as np

    from instantft_ros.demo.report import Checked
    nothing = Checked(np.zeros(0), np.zeros(0, bool), np.zeros(0, bool), 0)
    node = dict.fromkeys(('images_received', 'images_superseded', 'images_stale',
                          'images_rejected', 'predictions', 'trainings', 'trainings_failed',
                          'trainings_refused'), 0)
    figures = summary(Log(node=node), nothing, WorldParameters())
    assert figures['accuracy_adapted'] is None
    assert figures['retrain_ms'] == {'p50': None, 'p99': None}
    assert 'none' in table(figures)
