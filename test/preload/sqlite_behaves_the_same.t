#!/bin/bash
# sqlite3: a database on disk and one in memory, indexes, joins, text search, dump and integrity check.
. "$(dirname "$0")/lib.sh"

need sqlite3

same "sqlite3: tables, indexes, joins, updates, vacuum, integrity" <<'SCRIPT'
sqlite3 test.db <<'SQL'
pragma journal_mode = wal;
create table item(id integer primary key, name text, value real, data blob);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000)
	insert into item select i, 'name ' || (i * 7919 % 100003), i / 7.0, zeroblob(i % 200) from n;
create index by_name on item(name);
create table pair(a integer, b integer, primary key (a, b)) without rowid;
insert into pair select id, id * 31 % 1000 from item where id % 3 = 0;
select count(*), sum(value), sum(length(data)) from item;
select b, count(*), max(name) from pair join item on id = a group by b order by 2 desc, 1 limit 5;
update item set name = upper(name) || substr(hex(value), 1, 20), data = zeroblob(500) where id % 5 = 0;
delete from item where id % 7 = 0;
select group_concat(name, '|') from (select name from item order by name limit 20);
begin; delete from item; rollback;
vacuum; pragma integrity_check;
select count(distinct substr(name, 1, 6)) from item;
SQL
sqlite3 test.db .dump | md5sum
sqlite3 test.db 'select * from nothere'; echo $?
SCRIPT
same "sqlite3 in memory: json, window functions, text search" <<'SCRIPT'
sqlite3 :memory: <<'SQL'
create table doc(j text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
	insert into doc select json_object('i', i, 'list', json_array(i, i * 2, 'x' || i), 'text', printf('%.*c', i % 300, 'y')) from n;
select sum(json_extract(j, '$.list[1]')), sum(length(json_extract(j, '$.text'))) from doc;
select max(s) from (select sum(json_extract(j, '$.i')) over (order by rowid rows between 100 preceding and current row) s from doc);
create virtual table words using fts5(t);
insert into words select 'alpha beta ' || (rowid % 100) || ' gamma' || (rowid % 17) from doc;
select count(*) from words where words match 'gamma3 AND 5*';
SQL
SCRIPT
done_testing
