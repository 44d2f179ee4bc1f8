# Finds LLVM/MLIR 22.1 and defines the project's target helpers.
#
# Everything links libMLIR.so and libLLVM.so. MLIR libraries must be named with
# mlir_target_link_libraries: LINK_LIBS would put the static archives on the
# link line beside the shared library.

find_package(MLIR 22.1 REQUIRED CONFIG)
set(LLVM_LINK_LLVM_DYLIB ON)
set(MLIR_LINK_MLIR_DYLIB ON)
set(LLVM_RUNTIME_OUTPUT_INTDIR ${CMAKE_BINARY_DIR}/bin)
set(LLVM_LIBRARY_OUTPUT_INTDIR ${CMAKE_BINARY_DIR}/lib)
set(MLIR_BINARY_DIR ${CMAKE_BINARY_DIR})
list(APPEND CMAKE_MODULE_PATH ${MLIR_CMAKE_DIR} ${LLVM_CMAKE_DIR})
include(TableGen)
include(AddLLVM)
include(AddMLIR)
include(HandleLLVMOptions)

include_directories(SYSTEM ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
include_directories(${PROJECT_SOURCE_DIR}/include ${PROJECT_BINARY_DIR}/include
                    ${PROJECT_SOURCE_DIR}/runtime/include)

# add_ee_library(NAME sources... [DEPENDS ...] [LINK_LIBS own libs...] [MLIR_LIBS libs...])
function(add_ee_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINK_LIBS;MLIR_LIBS" ${ARGN})
  add_mlir_library(${name} ${ARG_UNPARSED_ARGUMENTS}
    DEPENDS ${ARG_DEPENDS} AdaptiveOpsIncGen
    LINK_LIBS PUBLIC ${ARG_LINK_LIBS}
    EXCLUDE_FROM_LIBMLIR)
  mlir_target_link_libraries(${name} PUBLIC ${ARG_MLIR_LIBS})
endfunction()

# add_ee_pass_plugin(NAME sources...): a module ee-opt loads with --load-pass-plugin.
function(add_ee_pass_plugin name)
  add_llvm_library(${name} MODULE ${ARGN} PLUGIN_TOOL ee-opt
    DEPENDS AdaptiveOpsIncGen AdaptivePassIncGen)
endfunction()
