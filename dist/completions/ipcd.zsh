#compdef ipcd
_arguments -s \
    '(-s --socket)'{-s,--socket}'[where to listen]:socket:_files' \
    '--no-datagram[do not open the datagram socket]' \
    '--config[configuration file]:file:_files' \
    '(-v --verbose)'{-v,--verbose}'[log connections as they come and go]' \
    '(- *)'{-h,--help}'[print help]' \
    '(- *)'{-V,--version}'[print version]'
