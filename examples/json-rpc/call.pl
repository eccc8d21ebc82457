use JSON::PP;
use IO::Socket::UNIX;
binmode $_, ":utf8" for *STDOUT, *STDERR;
my $broker = IO::Socket::UNIX->new($ENV{IPCD_SOCKET}) or die "no broker: $!\n";
my $call = { jsonrpc => "2.0", id => 1, method => $ARGV[0], params => decode_json($ARGV[1]) };
$broker->printflush(encode_json($call));
my $answer = decode_json(scalar <$broker>);
die "$answer->{error}{message}\n" if $answer->{error};
print JSON::PP->new->allow_nonref->encode($answer->{result}), "\n";
