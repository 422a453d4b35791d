# Empty dependencies file for instantft_native.
# This may be replaced when dependencies are built.
