# The program of the demo, for machines without a C compiler and Python: the same as ledger.c, without threads.
use strict;
use warnings;

my $secret = join '', map { sprintf '%02x', int rand 256 } 1 .. 8;
open my $journal, '>>', $ARGV[0] or die "cannot open $ARGV[0]: $!";
$journal->autoflush(1);
pipe my $from_child, my $to_parent or die "pipe: $!";
my $child = fork // die "fork: $!";
if ($child == 0) {
    $to_parent->autoflush(1);
    my $ticks = 0;
    while (1) {
        syswrite $to_parent, pack 'q', ++$ticks;
        select undef, undef, undef, 0.1;
    }
}
close $to_parent;
my %memory = map { $_ => "$secret$_" } 1 .. 20000;
my $tick = 0;
while (1) {
    $tick++;
    sysread $from_child, my $bytes, 8;
    my $damaged = grep { $memory{$_} ne "$secret$_" } keys %memory;
    printf {$journal} "tick=%d pid=%d child=%d childTicks=%d threads= memory=%s secret=%s\n", $tick, $$, $child,
        unpack('q', $bytes), $damaged ? 'DAMAGED' : 'good', $secret;
}
