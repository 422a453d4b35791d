file(REMOVE_RECURSE
  "CMakeFiles/instantft_train_plain.dir/train.cpp.o"
  "CMakeFiles/instantft_train_plain.dir/train.cpp.o.d"
)

# Per-language clean rules from dependency scanning.
foreach(lang CXX)
  include(CMakeFiles/instantft_train_plain.dir/cmake_clean_${lang}.cmake OPTIONAL)
endforeach()
