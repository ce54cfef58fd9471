# Sourced by ./sinkbench and ./test: installs what is missing from Debian's packages and builds what
# has changed. Speaks on standard error only. Expects $root, the folder of the checkout.

packages=(
  g++ cmake ninja-build pkg-config git ca-certificates
  libcli11-dev libfmt-dev libyaml-cpp-dev nlohmann-json3-dev
  libpcre2-dev zlib1g-dev libbz2-dev liblzma-dev libzstd-dev
  libssl-dev libsqlite3-dev
  gnuplot-nox bible-kjv
)
test_packages=(catch2 libxml2-utils libsentencepiece-dev)

say() { printf 'sinkbench: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# CMake refuses some characters of a path, and ninja 1.11 splits paths in depfiles at others, so that it
# builds everything anew each time. A checkout in such a folder is built through a link.
choose_root() {
  local odd=$'[&\'*^;"\\\\|`<>?\n]'
  [[ $root == *$odd* && -w $root ]] || return 0
  local link=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/sinkbench/checkout-$(printf %s "$root" | sha256sum | cut -c1-8)
  [[ $link != *$odd* ]] && mkdir -p "${link%/*}" 2>/dev/null && ln -sfn "$root" "$link" 2>/dev/null ||
    die "$root: a folder's name with one of & ' * ^ ; \" \\ | \` < > ? can't be built in, nor through the link $link;" \
      "move the checkout"
  root=$link
}

# Which LibTorch: Debian's, or another by SINKBENCH_TORCH, a folder that has share/cmake/Torch in it, or
# "pip", that of the Python that is active. Each has a build folder of its own.
choose_torch() {
  choose_root
  build_folder=$root/build
  torch_cmake=
  if [[ -z ${SINKBENCH_TORCH:-} ]]; then
    packages+=(libtorch-dev libopenblas0-openmp)
    return 0
  fi
  local folder=$SINKBENCH_TORCH
  if [[ $folder == pip ]]; then
    folder=$(python3 -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])' \
      2>/dev/null) || die "SINKBENCH_TORCH=pip: the active python3 ($(command -v python3 || echo none)) has no torch" \
      "(python3 -m pip install torch, with --index-url https://download.pytorch.org/whl/cpu for one without CUDA)"
  fi
  [[ -f $folder/share/cmake/Torch/TorchConfig.cmake ]] ||
    die "SINKBENCH_TORCH is '$SINKBENCH_TORCH'; expected 'pip' or a folder with share/cmake/Torch/TorchConfig.cmake"
  torch_cmake=$(readlink -f "$folder")/share/cmake
  build_folder=$root/build-torch-$(printf %s "$torch_cmake" | sha256sum | cut -c1-8)
}

install_packages() {
  command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || return 0  # not a Debian
  local missing=() package installed
  installed=" $(dpkg-query -W -f '${db:Status-Status}:${Package} ' "${packages[@]}" 2>/dev/null || true) "
  for package in "${packages[@]}"; do
    [[ $installed == *" installed:$package "* ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  local as_root=()
  if ((EUID != 0)); then
    sudo -n true 2>/dev/null ||
      die "these packages are missing and installing them needs root: ${missing[*]}" \
        "(run: sudo apt-get install ${missing[*]})"
    as_root=(sudo -n)
  fi
  say "installing Debian packages: ${missing[*]}"
  local log
  log=$(mktemp)
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y
    -o DPkg::Lock::Timeout=120)  # a new machine's first updates hold the lock
  if ! { "${apt[@]}" install --no-install-recommends "${missing[@]}" ||
    { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}"; }; } \
    >"$log" 2>&1 </dev/null; then
    tail -n 5 "$log" >&2
    rm -f "$log"
    die "could not install Debian packages: ${missing[*]}"
  fi
  rm -f "$log"
}

# LibTorch takes whatever BLAS the system has selected. The one that shares its threads is chosen for
# our processes alone; the system's choice is left as it is.
choose_blas() {
  [[ -z ${torch_cmake:-} ]] || return 0  # other LibTorches bring their own
  local folder
  for folder in /usr/lib/*/openblas-openmp; do
    if [[ -d $folder ]]; then
      export LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    fi
  done
}

# Whether anything could be built: an installation that somebody else built is run as it is.
can_build() {
  [[ ! -x $build_folder/cli/sinkbench ]] ||
    [[ -w $build_folder && (! -e $build_folder/.lock || -w $build_folder/.lock) ]]
}

# One process at a time builds in a folder.
lock() {
  local status=0 why
  why=$(flock -w 2 -E 75 9 2>&1) || status=$?
  if ((status == 75)); then
    say "waiting for another process that builds in $1"
    flock 9
  elif ((status != 0)); then
    say "warning: $1 can't be locked (${why##*: }): nothing else should be built there meanwhile"
  fi
}

# A build folder that was copied or moved with its checkout builds what was there.
forget_other_checkout() {
  local home
  home=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$1/CMakeCache.txt" 2>/dev/null) || return 0
  [[ -n $home && $home != "$root" && (-L $root || ! $home -ef $root) ]] || return 0
  say "$1 is of a checkout in $home: building afresh"
  find "$1/" -mindepth 1 ! -path "$1/.lock" -delete
}

# explain PROGRAM STATUS LOG: says why a part of the build failed, and ends.
explain() {
  local reason="$1 ended with status $2"
  if grep -q 'interrupted by user' "$3"; then
    say "the build was interrupted; the next call goes on with it"
    exit 130
  fi
  ((${2} <= 128)) || reason="$1 was ended by SIG$(kill -l "$2" 2>/dev/null || echo "NAL $(($2 - 128))")"
  ((${2} != 127)) || reason="$1 is not installed"
  { grep -E -A5 'error:|^CMake Error|^FAILED:|undefined reference' "$3" || tail -n 10 "$3"; } | head -n 40 >&2 || true
  die "the build failed: $reason; the whole log is in $3"
}

# build TARGET...: tests are configured once they are asked for.
build() {
  local folder=$build_folder log=$build_folder/build.log
  mkdir -p "$folder" 2>/dev/null && [[ -w $folder && (! -e $folder/.lock || -w $folder/.lock) ]] ||
    die "$folder: can't be written, and has to be built in"
  exec 9>"$folder/.lock"
  lock "$folder"
  forget_other_checkout "$folder"
  local options=() status=0
  if [[ ! -f $folder/build.ninja ]]; then
    options=(-G Ninja -DCMAKE_BUILD_TYPE=Release -DSINKBENCH_TESTS=OFF)
    [[ -z $torch_cmake ]] || options+=("-DCMAKE_PREFIX_PATH=$torch_cmake")
  fi
  if [[ $* == all ]] && ! grep -qs '^SINKBENCH_TESTS:BOOL=ON' "$folder/CMakeCache.txt"; then
    options+=(-DSINKBENCH_TESTS=ON)
  fi
  if ((${#options[@]})); then
    say "configuring"
    cmake -S "$root" -B "$folder" "${options[@]}" >"$log" 2>&1 || status=$?
    ((status == 0)) || { rm -f "$folder/build.ninja"; explain cmake "$status" "$log"; }
  fi
  # Nothing is said where nothing much is to be done.
  local first=
  [[ -x $folder/cli/sinkbench ]] || first=" (the first time takes some minutes)"
  (
    exec 9>&-
    sleep 1.5 >/dev/null 2>&1
    say "building$first"
  ) &
  local announcement=$!
  (ninja -C "$folder" "$@"; exit $?) >"$log" 2>&1 || status=$?  # what bash says of a killed one, too
  { kill "$announcement" && wait "$announcement"; } 2>/dev/null || true
  ((status == 0)) || explain ninja "$status" "$log"
  exec 9>&-
}

# The quick start's text: other people's, so it is not in the repository but in a package.
make_book() {
  local book=$root/.cache/king-james.txt
  [[ -s $book ]] && return 0
  command -v bible >/dev/null || return 0  # whoever needs it is told how to make it
  local part
  mkdir -p "$root/.cache" 2>/dev/null && part=$(mktemp "$book.XXXXXX" 2>/dev/null) || return 0
  bible -f -l100 gen1:1-rev22:21 >"$part" && mv "$part" "$book"
}
