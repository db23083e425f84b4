// Buffer churn for node.sh: a table of buffers replaced at random, JSON, zlib and hashes. Prints one checksum.
'use strict';
const zlib = require('zlib');
const crypto = require('crypto');

let seed = 7;
let checksum = 0;

function draw(bound) {
    seed = (seed * 16807) % 2147483647;
    return seed % bound;
}

const buffers = new Array(2000);
for (let step = 0; step < 500000; step++) {
    const slot = draw(buffers.length);
    if (buffers[slot])
        checksum += buffers[slot][buffers[slot].length - 1];
    buffers[slot] = Buffer.alloc(16 << draw(10), step & 255);
}

for (let pass = 0; pass < 25; pass++) {
    const records = [];
    for (let i = 0; i < 4000; i++)
        records.push({id: i, name: 'record ' + draw(100000), tags: [draw(9), draw(99)]});
    const text = JSON.stringify(records);
    const packed = zlib.deflateSync(Buffer.from(text), {level: 3});
    checksum += JSON.parse(zlib.inflateSync(packed).toString()).length;
    checksum += crypto.createHash('sha256').update(text).digest()[0];
}
console.log(checksum);
