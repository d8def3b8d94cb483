"""What any Keras code may use: layers, optimisers, variables as named arrays."""
