# Writes what is built into a source file, which changes only where that does:
#     cmake -D OUTPUT=FILE -D ROOT=FOLDER -D VERSION=... -D BUILD_TYPE=... -D FLAGS=... -P version.cmake
# The digest is of all that can change a number: the sources from reading a text to summing an NLL,
# and the compiler's flags. Commands, reports and documentation are not part of it.
execute_process(COMMAND git -C ${ROOT} describe --always --dirty --abbrev=12
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
  set(commit unknown)
endif()

set(text "${BUILD_TYPE} ${FLAGS}\n")
file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/base/*.cpp ${ROOT}/base/*.h
     ${ROOT}/datasets/*.cpp ${ROOT}/datasets/*.h ${ROOT}/datasets/*.inc
     ${ROOT}/models/*.cpp ${ROOT}/models/*.h ${ROOT}/models/*.cu ${ROOT}/policies/*.cpp
     ${ROOT}/policies/*.h ${ROOT}/eval/*.cpp ${ROOT}/eval/*.h ${ROOT}/eval/*.cu)
list(FILTER files EXCLUDE REGEX "^eval/(experiment|results)/")
list(SORT files)
foreach(file ${files})
  file(SHA256 ${ROOT}/${file} hash)
  string(APPEND text "${file} ${hash}\n")
endforeach()
# Policies that were added to the build.
if(POLICIES)
  file(GLOB files ${POLICIES}/*)
  foreach(file ${files})
    file(SHA256 ${file} hash)
    string(APPEND text "added ${hash}\n")
  endforeach()
endif()
string(SHA256 sources "${text}")

file(CONFIGURE OUTPUT ${OUTPUT} CONTENT
"#include \"eval/run/version.h\"

namespace sinkbench {
const char* const version = \"${VERSION}\";
const char* const commit = \"${commit}\";
const char* const build_type = \"${BUILD_TYPE}\";
const char* const sources = \"${sources}\";
}  // namespace sinkbench
")
