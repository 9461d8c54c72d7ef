# Completion of cellbox for bash. Commands, their verbs and options are those that its help shows.
_cellbox_boxes() { cellbox ls 2>/dev/null | awk 'NR > 1 { print $1 }'; }

_cellbox() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} words='' verbs=''
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "$(cellbox help 2>/dev/null | awk '/^  [a-z]/ { print $1 }') --help --version" -- "$cur")
        return
    fi
    case $prev in
    --format) words="png svg" ;;
    --restart) words="never on-failure always" ;;
    --stream) words="stdout stderr" ;;
    --signal) words="SIGTERM SIGKILL SIGINT SIGHUP SIGUSR1 SIGUSR2" ;;
    --language) words="python javascript typescript" ;;
    --attach) words=$(cellbox ps "${COMP_WORDS[2]}" 2>/dev/null | awk '$2 == "terminal" { print $1 }') ;;
    --sandbox) words=$(_cellbox_boxes) ;;
    --output-dir | --prefix)
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return
        ;;
    --connection-file)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    esac
    if [[ -z $words ]]; then
        [[ $command != image ]] || verbs="ls build rm has"
        [[ -n $verbs ]] || verbs=$(cellbox "$command" --help 2>/dev/null | awk 'NR == 1 && $4 ~ /^[a-z|]+$/ { gsub("[|]", " ", $4); print $4 }')
        case $command:$COMP_CWORD in
        run:2 | exec:2 | shell:2 | ps:2 | logs:2 | kill:2 | stdin:2 | rm:* | watch:2 | port:3 | context:3 | egress:3 | set:2 | info:2 | git:3 | bucket:3) words=$(_cellbox_boxes) ;;
        context:4) words=$(cellbox context ls "${COMP_WORDS[3]}" 2>/dev/null | awk 'NR > 1 { print $1 }') ;;
        logs:3 | kill:3 | stdin:3) words=$(cellbox ps "${COMP_WORDS[2]}" 2>/dev/null | awk '$2 == "process" { print $1 }') ;;
        secret:3 | handler:3) words=$(cellbox "$command" ls 2>/dev/null | awk 'NR > 1 { print $1 }') ;;
        *:2) words=$verbs ;;
        esac
        words+=" $(cellbox "$command" --help 2>/dev/null | awk '/^  --/ { print $1 }') --help"
        [[ $command != image ]] || words+=" --json --name --recipe --force --image-dir --cache-dir"
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    if [[ $command == cp && $cur != -* ]]; then
        mapfile -t COMPREPLY < <(
            compgen -f -- "$cur"
            compgen -S : -W "$(_cellbox_boxes)" -- "$cur"
        )
    fi
    if [[ $command =~ ^(run|notebook|egress|secret|handler)$ && $COMP_CWORD -ge 3 && $cur != -* ]]; then
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
    fi
}
complete -o filenames -F _cellbox cellbox
