#!/bin/bash
# node: buffers, worker threads, garbage collection, zlib and crypto in the thread pool, child processes.
. "$(dirname "$0")/lib.sh"

need node

same "node: buffers, strings, maps" <<'SCRIPT'
node -e '
const h = require("crypto").createHash("md5");
let kept = [];
for (let i = 0; i < 30000; i++) { const b = Buffer.alloc(i * 37 % 5000, i); h.update(b); if (i % 100 === 0) kept.push(b); if (kept.length > 50) kept.shift(); }
for (let n = 1; n < 64 << 20; n *= 2) { const a = new Uint8Array(n); a[n - 1] = 1; if (a[0] !== 0 && n > 1) throw n; }
const m = new Map(); for (let i = 0; i < 300000; i++) { m.set("k" + i % 50000, { i, s: "x".repeat(i % 60) }); if (i % 7 === 0) m.delete("k" + i % 1000); }
console.log(h.digest("hex"), m.size, JSON.stringify([...m.values()].slice(0, 3)));
let b = Buffer.allocUnsafe(10); for (let i = 0; i < 15; i++) b = Buffer.concat([b.fill(i), b]); console.log(b.length, b[5]);
'
SCRIPT
same "node: worker threads that start, transfer, share and end" <<'SCRIPT'
cat >w.js <<'JS'
const { Worker, isMainThread, parentPort, workerData } = require("worker_threads");
if (isMainThread) {
	const shared = new SharedArrayBuffer(4);
	let sum = 0;
	const run = (n) => new Promise((resolve, reject) => {
		const buffer = new ArrayBuffer(100000 + n);
		const w = new Worker(__filename, { workerData: { n, shared, buffer }, transferList: [buffer] });
		w.on("message", (m) => { sum += m.byteLength; });
		w.on("error", reject); w.on("exit", resolve);
	});
	(async () => {
		for (let round = 0; round < 6; round++) await Promise.all([0, 1, 2, 3].map((i) => run(round * 4 + i)));
		console.log(sum, Atomics.load(new Int32Array(shared), 0));
	})();
} else {
	const { n, shared, buffer } = workerData;
	const objects = []; for (let i = 0; i < 50000; i++) objects.push({ i, text: "t".repeat(i % 40) });
	for (let i = 0; i < 300; i++) { const b = Buffer.alloc(i * 997, i); Atomics.add(new Int32Array(shared), 0, b.length ? b[b.length - 1] : 0); }
	const out = new ArrayBuffer(buffer.byteLength + objects.length % 7);
	parentPort.postMessage(out, [out]);
}
JS
node w.js
SCRIPT
same "node: zlib, crypto and files in the thread pool, child processes" <<'SCRIPT'
node -e '
const zlib = require("zlib"), crypto = require("crypto"), fs = require("fs/promises"), util = require("util"), cp = require("child_process");
(async () => {
	const data = Buffer.from(Array.from({ length: 300000 }, (_, i) => i * i % 251));
	const packed = await Promise.all(Array.from({ length: 12 }, (_, i) => util.promisify(zlib.gzip)(data.subarray(i * 1000), { level: i % 9 + 1 })));
	const back = await Promise.all(packed.map((p) => util.promisify(zlib.gunzip)(p)));
	console.log(back.every((b, i) => b.equals(data.subarray(i * 1000))));
	const keys = await Promise.all(Array.from({ length: 20 }, (_, i) => util.promisify(crypto.pbkdf2)("p" + i, "salt", 500, 64, "sha256")));
	console.log(crypto.createHash("md5").update(Buffer.concat(keys)).digest("hex"));
	await Promise.all(Array.from({ length: 50 }, (_, i) => fs.writeFile("f" + i, data.subarray(0, i * 5000))));
	console.log((await Promise.all(Array.from({ length: 50 }, (_, i) => fs.readFile("f" + i)))).reduce((s, b) => s + b.length, 0));
	const out = await Promise.all(Array.from({ length: 5 }, (_, i) => util.promisify(cp.execFile)("sh", ["-c", "echo " + i])));
	console.log(out.map((o) => o.stdout.trim()).join());
})();
'
SCRIPT
done_testing
