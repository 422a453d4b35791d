# Empty dependencies file for instantft_train_avx2.
# This may be replaced when dependencies are built.
