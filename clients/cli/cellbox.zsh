#compdef cellbox
# Completion of cellbox for zsh. Commands, their verbs and options are those that its help shows.

# The first column of what a command lists, or of its lines whose second one is $1.
_cellbox_first() {
    local kind=$1
    shift
    compadd -- ${(f)"$(cellbox "$@" 2>/dev/null | awk -v kind="$kind" 'NR > 1 && (kind == "" || $2 == kind) { print $1 }')"}
}

_cellbox_commands() {
    local -a commands
    commands=(${(f)"$(cellbox help 2>/dev/null | awk '/^  [a-z]/ { name = $1; $1 = ""; print name ":" substr($0, 2) }')"})
    _describe -t commands command commands
    compadd -- --help --version
}

_cellbox_options() {
    local -a options
    options=(${(f)"$(cellbox $words[2] --help 2>/dev/null | awk '/^  --/ {
        name = $1; help = substr($0, 30); sub(/^ +/, "", help); gsub(":", "\\:", help); print name ":" help }')"})
    [[ $words[2] != image ]] || options+=(--json --name --recipe --force --image-dir --cache-dir)
    options+=("--help:show help")
    _describe -o -t options option options
}

_cellbox_verbs() {
    local verbs
    verbs=$(cellbox $words[2] --help 2>/dev/null | awk 'NR == 1 && $4 ~ /^[a-z|]+$/ { gsub("[|]", " ", $4); print $4 }')
    [[ $words[2] != image ]] || verbs="ls build rm has"
    compadd -- ${=verbs}
}

_cellbox() {
    local command=$words[2]
    if ((CURRENT == 2)); then
        _cellbox_commands
        return
    fi
    case $words[CURRENT-1] in
    --format) compadd png svg ; return ;;
    --restart) compadd never on-failure always ; return ;;
    --stream) compadd stdout stderr ; return ;;
    --signal) compadd SIGTERM SIGKILL SIGINT SIGHUP SIGUSR1 SIGUSR2 ; return ;;
    --language) compadd python javascript typescript ; return ;;
    --attach) _cellbox_first terminal ps $words[3] ; return ;;
    --sandbox) _cellbox_first "" ls ; return ;;
    --output-dir | --prefix) _files -/ ; return ;;
    --connection-file) _files ; return ;;
    esac
    if [[ $PREFIX == -* ]]; then
        _cellbox_options
        return
    fi
    case $command:$CURRENT in
    run:3 | exec:3 | shell:3 | ps:3 | logs:3 | kill:3 | stdin:3 | rm:* | watch:3 | port:4 | context:4 | egress:4 | set:3 | info:3 | git:4 | bucket:4) _cellbox_first "" ls ;;
    context:5) _cellbox_first "" context ls $words[4] ;;
    logs:4 | kill:4 | stdin:4) _cellbox_first process ps $words[3] ;;
    secret:4 | handler:4) _cellbox_first "" $command ls ;;
    cp:*)
        compadd -S : -- ${(f)"$(cellbox ls 2>/dev/null | awk 'NR > 1 { print $1 }')"}
        _files
        ;;
    *:3) _cellbox_verbs ;;
    run:* | notebook:* | egress:* | secret:* | handler:*) _files ;;
    esac
}

if [[ $funcstack[1] == _cellbox ]]; then
    _cellbox "$@"
else
    compdef _cellbox cellbox
fi
