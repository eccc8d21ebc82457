# fish completion for ipcd(8)
complete -c ipcd -f
complete -c ipcd -s s -l socket -r -F -d 'Where to listen'
complete -c ipcd -l no-datagram -d 'Do not open the datagram socket'
complete -c ipcd -l config -r -F -d 'Configuration file'
complete -c ipcd -s v -l verbose -d 'Log connections as they come and go'
complete -c ipcd -s h -l help -d 'Print help'
complete -c ipcd -s V -l version -d 'Print version'
