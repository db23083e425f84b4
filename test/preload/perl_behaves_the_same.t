#!/bin/bash
# perl: strings, hashes, regular expressions, sorting, threads where built in, fork, modules written in C.
. "$(dirname "$0")/lib.sh"

need perl

# Perl hashes in an order of their own in every process.
export PERL_HASH_SEED=0 PERL_PERTURB_KEYS=0
same "perl: hashes, arrays, strings" <<'SCRIPT'
perl -we '
use strict;
my (%h, @a);
for my $i (1 .. 200000) { $h{"key$i"} = "value" x ($i % 20); delete $h{"key" . int($i / 2)} if $i % 3 == 0; push @a, [$i, $i * 7919 % 10007]; }
my $n = 0; $n += length for values %h;
print scalar(keys %h), " $n\n";
@a = sort { $a->[1] <=> $b->[1] || $a->[0] <=> $b->[0] } @a;
print "@{$a[0]} @{$a[-1]}\n";
my $s = ""; $s .= chr(65 + $_ % 26) for 1 .. 1000000; print length($s), " ", substr($s, 500000, 20), "\n";
$s =~ s/([AEIOU])/<$1>/g; print length($s), "\n";
my %count; $count{$_}++ for $s =~ /(\w<)/g; print join(",", map {"$_$count{$_}"} sort keys %count), "\n";
my @parts = split /</, $s; print scalar(@parts), "\n"; print join("|", reverse @parts[0 .. 4]), "\n";
'
SCRIPT
same "perl: data structures with cycles, closures, objects, die and eval" <<'SCRIPT'
perl -MScalar::Util=weaken -we '
use strict;
package Node; my $destroyed = 0; sub new { my ($c, $p) = @_; my $s = bless {parent => $p, children => [], load => "x" x 300}, $c; Scalar::Util::weaken($s->{parent}) if $p; push @{$p->{children}}, $s if $p; $s } sub DESTROY { $destroyed++ }
package main;
for my $round (1 .. 20) { my $root = Node->new; my @level = ($root); for (1 .. 7) { @level = map { my $p = $_; map { Node->new($p) } 1 .. 3 } @level } }
print "$destroyed\n";
my @subs = map { my $n = $_; sub { $n++ . "-" . join(",", @_) } } 1 .. 1000; print $subs[$_]->($_) , " " for 0, 500, 999; print "\n";
my $caught = 0; for my $i (1 .. 20000) { eval { die { code => $i, text => "e" x ($i % 100) } }; $caught += $@->{code} } print "$caught\n";
'
SCRIPT
same "perl: fork, pipes, system" <<'SCRIPT'
perl -we '
use strict; $| = 1;
my $sum = 0;
for my $i (1 .. 50) {
	pipe(my $r, my $w) or die; my $pid = fork // die;
	if (!$pid) { close $r; my %h = map { $_ => "v" x $_ } 1 .. 200; print $w scalar(keys %h) * $i, "\n"; close $w; exit $i % 5 }
	close $w; chomp(my $line = <$r>); waitpid $pid, 0; $sum += $line + ($? >> 8);
}
print "$sum\n"; print `echo through a shell`; print system("exit 3") >> 8, "\n";
'
SCRIPT
same "perl: modules written in C" <<'SCRIPT'
perl -MStorable=freeze,thaw,dclone -MDigest::SHA=sha1_hex -MMIME::Base64 -MList::Util=sum,shuffle,first -MData::Dumper -MCompress::Zlib -MEncode -MPOSIX=strtol -we '
use strict; $Data::Dumper::Sortkeys = 1;
my $d = { map { ("k$_" => [1 .. $_ % 30, { deep => "x" x $_ }]) } 1 .. 3000 };
my $copy = thaw(freeze(dclone($d)));
print sha1_hex(Dumper($copy)), "\n";
my $text = join ",", 1 .. 200000; my $packed = Compress::Zlib::memGzip($text); print length($packed) < length($text) / 2 ? "packed\n" : "no\n"; print Compress::Zlib::memGunzip($packed) eq $text ? "same\n" : "differs\n";
print length(encode_base64($text)), " ", sum(1 .. 1000), " ", first { $_ > 10 } 1 .. 20; print "\n";
print length(decode("UTF-8", encode("UTF-8", join "", map { chr } 256 .. 50000))), "\n";
'
SCRIPT
if perl -MConfig -e 'exit !$Config{usethreads}'; then
	same "perl: threads and queues" <<'SCRIPT'
perl -Mthreads -MThread::Queue -we '
use strict;
my ($in, $out) = (Thread::Queue->new, Thread::Queue->new);
my @workers = map { threads->create(sub { while (defined(my $n = $in->dequeue)) { my %h = map { $_ => "v" x $_ } 1 .. $n; $out->enqueue(scalar(keys %h)) } }) } 1 .. 4;
$in->enqueue($_ % 100) for 1 .. 2000; $in->end; $_->join for @workers; $out->end;
my $sum = 0; while (defined(my $n = $out->dequeue)) { $sum += $n } print "$sum\n";
for (1 .. 20) { $_->join for map { threads->create(sub { my @a = map { "x" x $_ } 1 .. 500; scalar @a }) } 1 .. 4 } print "done\n";
'
SCRIPT
else
	skip "perl: threads and queues" "perl is built without threads"
fi
done_testing
