"""Changed pictures to train on."""
