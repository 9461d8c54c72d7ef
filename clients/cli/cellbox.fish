# Completion of cellbox for fish. Commands, their verbs and options are those that its help shows.

# The first column of what a command lists, or of its lines whose second one is $argv[1].
function __cellbox_first
    cellbox $argv[2..] 2>/dev/null | awk -v kind="$argv[1]" 'NR > 1 && (kind == "" || $2 == kind) { print $1 }'
end

function __cellbox_options
    cellbox $argv[1] --help 2>/dev/null | awk '/^  --/ {
        name = $1; help = substr($0, 30); sub(/^ +/, "", help); print name "\t" help }'
    if test $argv[1] = image
        printf '%s\n' --json --name --recipe --force --image-dir --cache-dir
    end
    printf '%s\t%s\n' --help "show help"
end

function __cellbox_verbs
    if test $argv[1] = image
        printf '%s\n' ls build rm has
    end
    cellbox $argv[1] --help 2>/dev/null | awk 'NR == 1 && $4 ~ /^[a-z|]+$/ { gsub("[|]", "\n", $4); print $4 }'
end

function __cellbox_value
    switch $argv[1]
        case --format
            printf '%s\n' png svg
        case --restart
            printf '%s\n' never on-failure always
        case --stream
            printf '%s\n' stdout stderr
        case --signal
            printf '%s\n' SIGTERM SIGKILL SIGINT SIGHUP SIGUSR1 SIGUSR2
        case --language
            printf '%s\n' python javascript typescript
        case --attach
            __cellbox_first terminal ps $argv[2]
        case --sandbox
            __cellbox_first "" ls
        case --output-dir --prefix
            __fish_complete_directories (commandline -ct)
        case --connection-file
            __fish_complete_path (commandline -ct)
        case '*'
            return 1
    end
end

function __cellbox_complete
    set -l words (commandline -opc)
    set -l at (count $words) # words before this one, the program's name among them
    set -l now (commandline -ct)
    if test $at -eq 1
        cellbox help 2>/dev/null | awk '/^  [a-z]/ { name = $1; $1 = ""; print name "\t" substr($0, 2) }'
        printf '%s\n' --help --version
        return
    end
    if __cellbox_value $words[-1] $words[3]
        return
    end
    if string match -q -- '-*' $now
        __cellbox_options $words[2]
        return
    end
    switch "$words[2]:$at"
        case run:2 exec:2 shell:2 ps:2 logs:2 kill:2 stdin:2 'rm:*' watch:2 port:3 context:3 egress:3 set:2 info:2 git:3 bucket:3
            __cellbox_first "" ls
        case context:4
            __cellbox_first "" context ls $words[4]
        case logs:3 kill:3 stdin:3
            __cellbox_first process ps $words[3]
        case secret:3 handler:3
            __cellbox_first "" $words[2] ls
        case 'cp:*'
            __cellbox_first "" ls | string replace -r '$' :
            __fish_complete_path $now
        case '*:2'
            __cellbox_verbs $words[2]
        case 'run:*' 'notebook:*' 'egress:*' 'secret:*' 'handler:*'
            __fish_complete_path $now
    end
end

complete -c cellbox -f -a '(__cellbox_complete)'
