#!/bin/bash
# git: commits, merge, log, blame, diff, gc with threads, fsck, clone on a generated repository.
. "$(dirname "$0")/lib.sh"

need git

count=60
quick && count=15
export count
same "git on a generated repository of some dozen commits" <<'SCRIPT'
export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org
# Object names must not depend on the clock.
at() { export GIT_AUTHOR_DATE="2020-01-01T00:00:$(($1 % 60)) +0000" GIT_COMMITTER_DATE="2020-01-01T00:00:$(($1 % 60)) +0000"; }
git config --global init.defaultBranch main
git config --global gc.auto 0
git config --global pack.threads 3
git config --global maintenance.auto false
git init -q repository && cd repository || exit
for i in $(seq "$count"); do
	at "$i"
	mkdir -p "d$((i % 7))"
	seq "$((i * 10))" "$((i * 30))" >"d$((i % 7))/f$((i % 13))"
	sed -i "${i}s/^/changed in $i: /" d*/f1 2>/dev/null
	git add -A && git commit -q -m "commit $i" || exit
done
git checkout -q -b side HEAD~5 && echo side >side && git add side && at 1 && git commit -q -m side
git checkout -q main && at 2 && git merge -q -m merged side
git log --stat --format='%h %s' | md5sum
git log -p --all | md5sum
git log --graph --oneline | tail -n 3
git blame -w d1/f1 | md5sum
git diff -M -C HEAD~10 HEAD | md5sum
git grep -n changed | md5sum
git rev-parse HEAD
git -c pack.window=20 repack -q -a -d -f --depth=20 && git gc -q --prune=now --aggressive && git fsck --strict --no-progress; echo "fsck $?"
git count-objects -v | grep -E '^(count|in-pack|packs|garbage)'
git clone -q --no-local . ../clone && git -C ../clone rev-parse HEAD
git archive HEAD | md5sum
git bisect start -q HEAD HEAD~20 >/dev/null && git bisect run sh -c 'test ! -f side' | tail -n 1
git bisect reset -q
git stash list; echo more >>side; git stash -q; git stash pop -q; git status --short
git rebase -q --onto HEAD~3 HEAD~2 2>&1 | head -n 3
git shortlog -sn HEAD
SCRIPT
done_testing
