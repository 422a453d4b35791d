# Empty dependencies file for instantft_train_plain.
# This may be replaced when dependencies are built.
