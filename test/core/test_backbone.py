import json
import shutil

import cv2
import numpy as np
import pytest

from instantft_ros.core.backbone import Backbone, Region
from instantft_ros.core.errors import BackboneError, ImageError, ManifestError
from instantft_ros.core.manifest import sha256_of
from instantft_ros.demo.belt import GARMENTS_FILE
from instantft_ros.models import DEFAULT_MANIFEST


@pytest.fixture
def model(tmp_path):
    """A copy of the shipped model whose manifest can be edited."""
    shutil.copytree(DEFAULT_MANIFEST.parent, tmp_path / 'model')
    manifest = tmp_path / 'model' / 'manifest.json'

    def edit(**changes: object):
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))
        return manifest

    return edit


@pytest.fixture(scope='module')
def backbone() -> Backbone:
    return Backbone(DEFAULT_MANIFEST)


def test_recognises_upright_garments(backbone):
    with np.load(GARMENTS_FILE) as data:
        images, labels = data['images'], data['labels']
    right = [backbone.features(backbone.preprocess(image)).logits.argmax() == label
             for image, label in zip(images, labels)]
    assert np.mean(right) > 0.87


def test_taps_are_the_layers_inputs(backbone):
    image = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    features = backbone.features(backbone.preprocess(image))
    assert features.x.shape == (backbone.layout.dim,)
    np.testing.assert_allclose(features.x[:784], image.reshape(-1) / 255.0, rtol=1e-6)
    # the last layer, from its tap and the weights in the file
    weights, bias = last_layer()
    np.testing.assert_allclose(weights @ features.x[-84:] + bias, features.logits, rtol=1e-4,
                               atol=1e-4)


def last_layer() -> tuple[np.ndarray, np.ndarray]:
    network = cv2.dnn.readNetFromONNX(str(DEFAULT_MANIFEST.parent / 'model.onnx'))
    name = next(name for name in reversed(network.getLayerNames())
                if len(network.getLayer(network.getLayerId(name)).blobs) == 2)
    layer = network.getLayer(network.getLayerId(name))
    return layer.blobs[0], layer.blobs[1].reshape(-1)


def test_region_is_what_is_classified(backbone):
    image = np.zeros((100, 120), np.uint8)
    image[20:76, 30:86] = np.random.default_rng(1).integers(0, 256, (56, 56), np.uint8)
    part = backbone.preprocess(image, Region(30, 20, 56, 56))
    np.testing.assert_array_equal(part, backbone.preprocess(image[20:76, 30:86].copy()))


def test_colour_is_that_of_the_manifest(model):
    path = model(input={'width': 28, 'height': 28, 'colour': 'mono', 'mean': [10.0],
                        'std': [2.0]})
    blue = np.zeros((28, 28, 3), np.uint8)
    blue[..., 0] = 255
    assert Backbone(path).preprocess(blue)[0, 0, 0, 0] == pytest.approx((29 - 10) / 2)


@pytest.mark.parametrize('image', [
    np.zeros((28, 28), np.float32), np.zeros((28, 28, 4), np.uint8), np.zeros(28, np.uint8),
    np.zeros((0, 28), np.uint8)])
def test_other_arrays_are_refused(backbone, image):
    with pytest.raises(ImageError, match='must be uint8'):
        backbone.preprocess(image)


@pytest.mark.parametrize('region', [Region(-1, 0, 5, 5), Region(0, 0, 29, 5), Region(0, 0, 5, 0),
                                    Region(0, 20, 5, 9)])
def test_region_outside_is_refused(backbone, region):
    with pytest.raises(ImageError, match='28 x 28'):
        backbone.preprocess(np.zeros((28, 28), np.uint8), region)


def test_exchanged_network_file_is_refused(model):
    path = model()
    with (path.parent / 'model.onnx').open('ab') as stream:
        stream.write(b'x')
    with pytest.raises(ManifestError, match='not the network'):
        Backbone(path)


def test_missing_network_file_is_named(model):
    with pytest.raises(ManifestError, match=r'other\.onnx'):
        Backbone(model(network='other.onnx'))


def test_file_that_is_no_network(model, tmp_path):
    path = model()
    network = path.parent / 'model.onnx'
    network.write_bytes(b'not a network')
    with pytest.raises(BackboneError, match='cannot load'):
        Backbone(model(sha256=sha256_of(network)))


def test_wrong_tap_size_is_named(model):
    taps = json.loads(DEFAULT_MANIFEST.read_text())['taps']
    taps[1]['size'] = 865
    with pytest.raises(BackboneError, match=r"'pool1' has 864 values, its manifest says 865"):
        Backbone(model(taps=taps))


def test_unknown_output_is_named(model):
    with pytest.raises(BackboneError, match='nonsense'):
        Backbone(model(logits='nonsense'))


def test_wrong_input_size_is_named(model):
    with pytest.raises(BackboneError):
        Backbone(model(input={'width': 32, 'height': 28, 'colour': 'mono', 'mean': [0.0],
                              'std': [1.0]}))
