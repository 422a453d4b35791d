file(REMOVE_RECURSE
  "CMakeFiles/instantft_native.dir/library.cpp.o"
  "CMakeFiles/instantft_native.dir/library.cpp.o.d"
  "libinstantft_native.pdb"
  "libinstantft_native.so"
)

# Per-language clean rules from dependency scanning.
foreach(lang CXX)
  include(CMakeFiles/instantft_native.dir/cmake_clean_${lang}.cmake OPTIONAL)
endforeach()
