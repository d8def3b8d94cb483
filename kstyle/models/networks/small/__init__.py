"""Networks for small pictures: digits and CIFAR."""
