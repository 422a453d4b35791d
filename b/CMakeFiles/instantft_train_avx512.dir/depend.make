# Empty dependencies file for instantft_train_avx512.
# This may be replaced when dependencies are built.
