# Hash churn for perl.sh: nested records replaced at random, word counts, joins, sorts, regular expressions.
use strict;
use warnings;

my $seed = 7;
my $checksum = 0;

sub draw {
    my ($bound) = @_;
    $seed = ($seed * 16807) % 2147483647;
    return $seed % $bound;
}

my %records;
for my $step (1 .. 300_000) {
    my $key = 'key' . draw(40_000);
    if (my $old = delete $records{$key}) {
        $checksum += length($old->{text}) + scalar @{ $old->{tags} };
    }
    $records{$key} = { text => "step $step " x (1 + $step % 7), tags => [map { $_ * $step } 1 .. 1 + $step % 5], step => $step };
}
$checksum += scalar keys %records;

for my $pass (1 .. 4) {
    my %counts;
    my @lines = map { join ' ', map { 'w' . draw(3000) } 1 .. 12 } 1 .. 6000;
    for my $line (@lines) {
        $counts{$1}++ while $line =~ /(w\d+)/g;
    }
    my @sorted = sort { $counts{$b} <=> $counts{$a} || $a cmp $b } keys %counts;
    my $text = join ',', map { "$_=$counts{$_}" } @sorted;
    $checksum += length $text;
}
print "$checksum\n";
