# Completion of cellbox for bash.
_cellbox() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} words=
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "run exec shell ps logs kill ls rm context cp watch port egress secret handler notebook image kernelspec kernel doctor --help --version" -- "$cur")
        return
    fi
    case $prev in
    --format) words="png svg" ;;
    --restart) words="never on-failure always" ;;
    --stream) words="stdout stderr" ;;
    --signal) words="SIGTERM SIGKILL SIGINT SIGHUP SIGUSR1 SIGUSR2" ;;
    --attach) words=$(cellbox ps "${COMP_WORDS[2]}" 2>/dev/null | awk '$2 == "terminal" { print $1 }') ;;
    --output-dir | --prefix)
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return
        ;;
    --connection-file)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --sandbox) words=$(cellbox ls 2>/dev/null | awk 'NR > 1 { print $1 }') ;;
    esac
    if [[ -z $words ]]; then
        case $command:$COMP_CWORD in
        run:2 | exec:2 | shell:2 | ps:2 | logs:2 | kill:2 | rm:* | watch:2 | port:3 | context:3) words=$(cellbox ls 2>/dev/null | awk 'NR > 1 { print $1 }') ;;
        port:2) words="show ls rm" ;;
        egress:2) words="get set reset allow deny log" ;;
        egress:3) words=$(cellbox ls 2>/dev/null | awk 'NR > 1 { print $1 }') ;;
        secret:2) words="ls set rm" ;;
        handler:2) words="ls set show rm" ;;
        context:2) words="ls rm restart interrupt" ;;
        context:4) words=$(cellbox context ls "${COMP_WORDS[3]}" 2>/dev/null | awk 'NR > 1 { print $1 }') ;;
        logs:3 | kill:3) words=$(cellbox ps "${COMP_WORDS[2]}" 2>/dev/null | awk '$2 == "process" { print $1 }') ;;
        image:2) words="ls build rm has" ;;
        notebook:2) words="run" ;;
        kernelspec:2) words="install uninstall ls" ;;
        esac
        case $command in
        run) words+=" --context --language --timeout --env --format --output-dir --json" ;;
        notebook) words+=" --parameter --text --sandbox --language --cwd --env --timeout --allow-errors --overwrite --quiet" ;;
        exec) words+=" --cwd --env --timeout --stdin --session --background --id --restart --json" ;;
        shell) words+=" --attach --read-only --command --cwd" ;;
        logs) words+=" --follow --cursor --stream --json" ;;
        kill) words+=" --signal" ;;
        ls | ps | doctor | context) words+=" --json" ;;
        kernelspec) words+=" --user --prefix --sys-prefix --language --name --display-name --sandbox" ;;
        watch) words+=" --include --exclude --coalesce --json" ;;
        egress) words+=" --follow --cursor --har --json" ;;
        secret) words+=" --host --sandbox --username --access-key-id --json" ;;
        handler) words+=" --env --json" ;;
        port) words+=" --name --token --expires --rotate --json" ;;
        kernel) words+=" --connection-file --sandbox --language" ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words --help" -- "$cur")
    if [[ $command == cp && $cur != -* ]]; then
        mapfile -t COMPREPLY < <(
            compgen -f -- "$cur"
            compgen -S : -W "$(cellbox ls 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$cur"
        )
    fi
    if [[ ($command == run || $command == notebook) && $COMP_CWORD -ge 3 && $cur != -* ]]; then
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
    fi
}
complete -o filenames -F _cellbox cellbox
