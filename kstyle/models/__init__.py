"""Networks, built once in Keras, and the features taken from them."""
