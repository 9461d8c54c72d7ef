#!/bin/bash
# Makes the default image's tree. Called by cellbox-image inside mount and pid namespaces of its own, with
#   RECIPE  this folder
#   WORK    an empty folder on the image store's file system: leave rootfs/ and manifest.json there
#   CACHE   downloads worth keeping for the next build
# Everything that needs the network runs on the host with the host's own apt, pip and npm settings; what runs inside
# the tree has no network at all, so none of those settings can stay behind.
set -euo pipefail

ROOTFS=$WORK/rootfs
VENV=/opt/venv
USER_ID=1000
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1795305600}
export LC_ALL=C.UTF-8
# the distribution's own programs first: some of its tools start whatever python3 the PATH has
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH

say() { printf '[%4ds]   %s\n' "$SECONDS" "$*" >&2; }
die() { printf 'image recipe: %s\n' "$*" >&2; exit 1; }

# inside COMMAND...: in the tree, with a clean environment, /proc and /dev, and no network
inside() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --pid --fork --net --kill-child --propagation private bash -euc '
        root=$1
        shift
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/tmp"
        [[ ! -d $WHEELS ]] || { mkdir "$root/tmp/wheels" && mount --bind "$WHEELS" "$root/tmp/wheels"; }
        exec env -i PATH="/opt/venv/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root LANG=C.UTF-8 \
            SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" chroot "$root" "$@"' bash "$ROOTFS" "$@"
}

# background NAME COMMAND...: beside the main line; finish NAME REMEDY waits for it and shows the log's end if it failed
declare -A JOB
background() {
    local name=$1
    shift
    "$@" >"$WORK/$name.log" 2>&1 &
    JOB[$name]=$!
}
finish() {
    wait "${JOB[$1]}" && return
    tail -n 25 "$WORK/$1.log" >&2
    die "step '$1' failed; $2"
}

# logged NAME REMEDY COMMAND...: a job of its own, because bash ignores set -e inside a function whose status is tested
logged() {
    local name=$1 remedy=$2
    shift 2
    background "$name" "$@"
    finish "$name" "$remedy"
}

host_release() {
    # shellcheck source=/dev/null
    . /etc/os-release
    RELEASE_ID=$ID
    RELEASE=$ID-${VERSION_ID:-sid}
    CODENAME=${VERSION_CODENAME:-sid}
    case $ID in
    debian) ORIGIN=Debian COMPONENTS='^main$' ;;
    ubuntu) ORIGIN=Ubuntu COMPONENTS='^(main|universe)$' ;;
    *) die "the host is '$ID'; images are made from Debian or Ubuntu of the host's own release" ;;
    esac
}

# The distribution's own archives among the host's sources, whatever their format: third-party lists name another origin.
host_sources() {
    local keyring=/usr/share/keyrings/$RELEASE_ID-archive-keyring.gpg options=
    [[ -r $keyring ]] && options="[signed-by=$keyring] "
    # shellcheck disable=SC2016 # apt's own placeholders
    apt-get indextargets --format '$(ORIGIN) $(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v origin="$ORIGIN" -v code="$CODENAME" -v comps="$COMPONENTS" -v options="$options" '
            $1 == origin && $3 ~ comps && ($2 == code || $2 == code "-updates" || $2 == code "-security") {
                print "deb " options $4 " " $2 " " $3
            }' | sort -u
}

# How the host reaches its archives (proxy, certificates, date checks). It is deleted with 99mmdebstrap below.
host_apt_options() {
    apt-config dump | grep -E '^Acquire::(http|https|ftp|Retries|Check-Valid-Until|Check-Date|AllowInsecure[^ ]*|ForceIPv[46])\b' || true
}

fetch_python() {
    /usr/bin/python3 -m venv "$WORK/venv"
    PIP_CACHE_DIR=$CACHE/pip "$WORK/venv/bin/pip" --disable-pip-version-check download --progress-bar off \
        --only-binary :all: --require-hashes -r "$RECIPE/requirements.txt" -d "$WHEELS"
}

fetch_node() {
    mkdir -p "$WORK/node"
    cp "$RECIPE/package.json" "$RECIPE/package-lock.json" "$WORK/node/"
    (cd "$WORK/node" && npm ci --ignore-scripts --no-audit --no-fund --cache "$CACHE/npm")
}

install_debian() {
    local packages
    packages=$(sed 's/#.*//' "$RECIPE/packages.txt" | tr -s '[:space:]' ',' | sed 's/^,//; s/,$//')
    host_apt_options >"$WORK/apt.conf"
    # The setup hook lends the host's archive logins, the last hook takes them and the build's own options out again.
    # shellcheck disable=SC2016 # $1 is the tree, given by mmdebstrap
    mmdebstrap --mode=root --variant=minbase --include="$packages" \
        --aptopt="$WORK/apt.conf" --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
        --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/locale/locale.alias' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-include=/usr/share/doc/apt/examples/sources.list' \
        --setup-hook='for f in /etc/apt/auth.conf /etc/apt/auth.conf.d/*; do
            [ ! -f "$f" ] || install -D -m 600 "$f" "$1/etc/apt/auth.conf.d/build-$(basename "$f")"; done' \
        --customize-hook='rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$1"/etc/apt/auth.conf.d/build-*' \
        "$CODENAME" "$ROOTFS" "$WORK/sources.list"
}

# The archives a plain install of this release would use: apt ships them as its example.
plain_sources() {
    local components=main
    [[ $RELEASE_ID == ubuntu ]] && components="main universe"
    rm -f "$ROOTFS"/etc/apt/sources.list.d/* "$ROOTFS/etc/apt/sources.list"
    sed -n "s/^\\(deb [^ ]* ${CODENAME}[^ ]*\\) .*/\\1 $components/p" "$ROOTFS/usr/share/doc/apt/examples/sources.list" \
        >"$ROOTFS/etc/apt/sources.list"
    [[ -s $ROOTFS/etc/apt/sources.list ]] || die "apt of $CODENAME ships no example sources.list"
    rm -rf "$ROOTFS/usr/share/doc/apt/examples"
}

make_user() {
    inside useradd --uid $USER_ID --user-group --create-home --shell /bin/bash user
    if [[ -d $ROOTFS/etc/sudoers.d ]]; then
        printf '%s\n' 'user ALL=(ALL) NOPASSWD:ALL' "Defaults secure_path=\"$BOX_PATH\"" 'Defaults !fqdn' >"$ROOTFS/etc/sudoers.d/user"
        chmod 440 "$ROOTFS/etc/sudoers.d/user"
    fi
    install -d -o $USER_ID -g $USER_ID "$ROOTFS/workspace"
    install -d "$ROOTFS/opt/cellbox"
}

write_etc() {
    local etc=$ROOTFS/etc
    printf '127.0.0.1\tlocalhost cellbox\n::1\tlocalhost ip6-localhost ip6-loopback\n' >"$etc/hosts"
    rm -f "$etc/resolv.conf"
    printf 'nameserver 10.200.0.53\nnameserver fd00:200::53\noptions timeout:2 attempts:2\n' >"$etc/resolv.conf"
    echo cellbox >"$etc/hostname"
    : >"$etc/machine-id"
    printf 'PATH="%s"\nLANG="C.UTF-8"\n' "$BOX_PATH" >"$etc/environment"
    # shellcheck disable=SC2016 # for the shells of the box
    printf 'export PATH=%s\nexport LANG=${LANG:-C.UTF-8}\n' "$BOX_PATH" >"$etc/profile.d/cellbox.sh"
    # packages installed in a box may ship services; nothing there starts them
    printf '#!/bin/sh\nexit 101\n' >"$ROOTFS/usr/sbin/policy-rc.d"
    chmod 755 "$ROOTFS/usr/sbin/policy-rc.d"
    # nothing in a box may mount: what libfuse runs to get a mount hands out the one that the server has made
    ln -sf /opt/cellbox/fuse/fusermount "$ROOTFS/usr/bin/fusermount"
}

install_python() {
    inside /usr/bin/python3 -m venv $VENV
    inside $VENV/bin/pip --disable-pip-version-check install --no-cache-dir --no-index --no-compile \
        --find-links /tmp/wheels --require-hashes -r /dev/stdin <"$RECIPE/requirements.txt"
}

# Node in /usr/local as its own distribution lays it out, so that npm's global prefix is on the PATH;
# the libraries of the JavaScript runner in /opt/node.
install_node() {
    local package usr=$ROOTFS/usr/local
    package=$(echo "$WORK"/node/node_modules/node-linux-*)
    [[ -x $package/bin/node ]] || die "the lockfile has no Node for $(uname -m)"
    mkdir -p "$usr/lib/node_modules" "$usr/include" "$ROOTFS/opt/node"
    mv "$package/bin/node" "$usr/bin/node"
    mv "$package/include/node" "$usr/include/node"
    rm -rf "$package" "$WORK/node/node_modules/.package-lock.json" "$WORK"/node/node_modules/.bin/{node,npm,npx}
    mv "$WORK/node/node_modules/npm" "$usr/lib/node_modules/npm"
    ln -s ../lib/node_modules/npm/bin/npm-cli.js "$usr/bin/npm"
    ln -s ../lib/node_modules/npm/bin/npx-cli.js "$usr/bin/npx"
    ln -s /opt/node/node_modules/typescript/bin/tsc "$usr/bin/tsc"
    mv "$WORK/node/node_modules" "$ROOTFS/opt/node/"
    cp "$RECIPE"/package*.json "$ROOTFS/opt/node/"
    chown -R 0:0 "$ROOTFS/opt/node" "$usr"
    chown -R $USER_ID:$USER_ID "$usr"
}

# Compiled files say "valid while the source keeps its time and size": a source edited in a box is compiled again,
# which an unchecked hash would not do. The times are settled first, and the image keeps them.
compile_python() {
    find "$ROOTFS" -xdev -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    inside $VENV/bin/python -c '
import compileall, pathlib, py_compile, sys, sysconfig
roots = ["/opt/venv/lib", sysconfig.get_path("stdlib"), "/usr/lib/python3/dist-packages"]
for root in filter(lambda r: pathlib.Path(r).is_dir(), roots):
    compileall.compile_dir(root, maxlevels=30, force=True, quiet=2, workers=0,
                           invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
'
    chown -R $USER_ID:$USER_ID "$ROOTFS$VENV"
}

as_user() { inside setpriv --reuid $USER_ID --regid $USER_ID --clear-groups env HOME=/home/user MPLBACKEND=agg "$@"; }

warm_caches() {
    as_user $VENV/bin/python -Bc 'import matplotlib.pyplot, matplotlib.font_manager, IPython
IPython.core.interactiveshell.InteractiveShell'
}

clean() {
    rm -rf "$ROOTFS"/var/cache/apt/* "$ROOTFS"/var/lib/apt/lists/* "$ROOTFS"/var/log/* "$ROOTFS"/root/.cache \
        "$ROOTFS"/var/cache/debconf/*-old "$ROOTFS"/var/lib/dpkg/*-old "$ROOTFS"/var/cache/ldconfig/*
    mkdir -p "$ROOTFS/var/lib/apt/lists/partial" "$ROOTFS/var/cache/apt/archives/partial"
    local d
    for d in proc dev sys run mnt tmp; do
        find "$ROOTFS/$d" -mindepth 1 -delete 2>/dev/null || rm -rf --one-file-system "${ROOTFS:?}/$d"/*
    done
    chmod 1777 "$ROOTFS/tmp"
}

# Proof that nothing of the host came along, and that what a box needs did.
verify() {
    local left d certs
    for d in proc dev sys run mnt tmp opt/cellbox; do
        [[ -d $ROOTFS/$d && -z $(ls -A "$ROOTFS/$d") ]] || die "/$d is not an empty folder in the image"
    done
    left=$(find "$ROOTFS/etc" "$ROOTFS/root" "$ROOTFS/home" "$ROOTFS/usr/local/etc" "$ROOTFS/opt" -xdev \
        \( -name pip.conf -o -name .npmrc -o -name npmrc -o -name .netrc -o -name 99mmdebstrap -o -name 'build-*' -path '*auth.conf.d*' \) \
        -not -path '*/node_modules/*' 2>/dev/null)
    [[ -z $left ]] || die "settings of the build are left in the image: $left"
    left=$(find "$ROOTFS$VENV" -name direct_url.json)
    [[ -z $left ]] || die "a Python package remembers where it came from: $left"
    left=$(host_apt_options | sed -n 's/.*\(Proxy\|Login\|Password\|CAInfo\)[^"]*"\([^"]\+\)";/\2/p'
        printf '%s\n' "${http_proxy:-}" "${https_proxy:-}" "${HTTP_PROXY:-}" "${HTTPS_PROXY:-}" "${PIP_INDEX_URL:-}" "${PIP_EXTRA_INDEX_URL:-}")
    left=$(sed '/^$/d; /^DIRECT$/d; \|^/etc/ssl/certs/ca-certificates.crt$|d' <<<"$left")
    if [[ -n $left ]] && grep -rIlF -f <(echo "$left") "$ROOTFS/etc" "$ROOTFS/root" "$ROOTFS/home" "$ROOTFS/usr/local/etc" 2>/dev/null; then
        die "the files above hold an address of the host's package settings"
    fi
    # every certificate of the bundle is one that Debian's own package lists
    certs=$(grep -c '^-----BEGIN CERTIFICATE' "$ROOTFS/etc/ssl/certs/ca-certificates.crt")
    [[ $certs -eq $(grep -cE '^[^#!]' "$ROOTFS/etc/ca-certificates.conf") && -z $(ls -A "$ROOTFS/usr/local/share/ca-certificates" 2>/dev/null) ]] ||
        die "the certificate bundle is not the distribution's own"
    [[ -s $ROOTFS/etc/apt/sources.list && -z $(ls -A "$ROOTFS/etc/apt/sources.list.d") ]] ||
        die "the apt sources are not the plain ones"
    as_user $VENV/bin/python -Bc 'import IPython, comm, debugpy, jedi, matplotlib_inline, numpy, pandas, matplotlib.pyplot, scipy, sklearn, PIL, sympy'
    as_user node -e 'for (const m of ["typescript", "sucrase", "acorn"]) require("/opt/node/node_modules/" + m)'
    as_user npm --version >/dev/null
}

write_manifest() {
    local facts debian python node
    facts=$(inside $VENV/bin/python -c '
import json, platform, sysconfig
print(json.dumps({"python": platform.python_version(), "site_packages": sysconfig.get_path("purelib"),
                  "libpython": sysconfig.get_config_var("LIBDIR") + "/" + sysconfig.get_config_var("INSTSONAME"),
                  "multiarch": sysconfig.get_config_var("MULTIARCH")}))')
    # shellcheck disable=SC2016 # dpkg-query's own placeholders
    debian=$(inside dpkg-query -W -f='${Package} ${Version}\n' | jq -R 'split(" ") | {(.[0]): .[1]}' | jq -s add)
    python=$(inside $VENV/bin/pip --disable-pip-version-check list --format json | jq 'map({(.name): .version}) | add')
    node=$(cd "$ROOTFS" && jq -s 'map({(.name): .version}) | add' opt/node/node_modules/{typescript,sucrase,acorn}/package.json usr/local/lib/node_modules/npm/package.json)
    [[ -e $ROOTFS$(jq -r .libpython <<<"$facts") ]] || die "the image has no shared libpython"
    jq -n --argjson facts "$facts" --argjson debian "$debian" --argjson python "$python" --argjson node "$node" \
        --arg release "$RELEASE" --arg codename "$CODENAME" --arg arch "$(dpkg --print-architecture)" \
        --arg nodev "$(inside node -v)" --arg path "$BOX_PATH" --argjson uid $USER_ID \
        '{release: $release, codename: $codename, arch: $arch} + $facts + {
            venv: "/opt/venv", node: ($nodev | ltrimstr("v")), node_modules: "/opt/node/node_modules",
            user: {name: "user", uid: $uid, gid: $uid, home: "/home/user", shell: "/bin/bash"}, workdir: "/workspace",
            env: {PATH: $path, LANG: "C.UTF-8"}, packages: {debian: $debian, python: $python, node: $node}}' \
        >"$WORK/manifest.json"
}

BOX_PATH=$VENV/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
export WHEELS=$WORK/wheels
mkdir -p "$WHEELS"
host_release
host_sources >"$WORK/sources.list"
if [[ ! -s $WORK/sources.list ]]; then
    logged apt-update "check the machine's network and apt sources" apt-get -q update
    host_sources >"$WORK/sources.list"
    [[ -s $WORK/sources.list ]] || die "the host's apt sources have no $ORIGIN archive of $CODENAME"
fi

say "fetching the Python and Node packages (beside the next step)"
background fetch-python fetch_python
background fetch-node fetch_node
say "installing $ORIGIN $CODENAME and its packages"
logged debian "the host's apt could not install it; its message is above" install_debian
plain_sources
write_etc
make_user
finish fetch-python "check that pip can reach its index (pip config list shows its settings)"
say "installing the Python packages"
logged python "pip's message is above" install_python
finish fetch-node "check that npm can reach its registry (npm config list shows its settings)"
say "installing Node"
install_node
say "compiling the Python files"
logged compile "the message is above" compile_python
logged warm "matplotlib's message is above" warm_caches
say "checking the tree"
logged facts "the message is above" write_manifest
clean
logged verify "the message is above" verify
clean
