#!/bin/bash
# java: the virtual machine's own memory comes from malloc (compiler, class data, direct buffers, zip, threads).
. "$(dirname "$0")/lib.sh"

need java javac

heavy
cat >"$tmp/Churn.java" <<'JAVA'
import java.nio.ByteBuffer;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import java.util.zip.*;

public class Churn {
    static long packed(int n) throws Exception {
        byte[] data = new byte[n * 100 + 10];
        for (int i = 0; i < data.length; i++) data[i] = (byte) (i * i % 251);
        Deflater d = new Deflater(n % 9); d.setInput(data); d.finish();
        byte[] out = new byte[data.length * 2 + 100]; int length = d.deflate(out); d.end();
        Inflater i = new Inflater(); i.setInput(out, 0, length); byte[] back = new byte[data.length]; i.inflate(back); i.end();
        return Arrays.equals(data, back) ? data.length : -1;
    }
    static long direct(int n) {
        long sum = 0;
        for (int i = 0; i < 200; i++) { ByteBuffer b = ByteBuffer.allocateDirect(i * n % 100000 + 1); b.put(b.capacity() - 1, (byte) i); sum += b.capacity(); }
        return sum;
    }
    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(6);
        List<Future<Long>> results = new ArrayList<>();
        for (int i = 0; i < 60; i++) { final int n = i; results.add(pool.submit(() -> packed(n * 10) + direct(n))); }
        long sum = 0; for (Future<Long> f : results) sum += f.get();
        pool.shutdown();
        Map<String, List<Integer>> map = IntStream.range(0, 200000).boxed().collect(Collectors.groupingBy(i -> "k" + i % 1000));
        for (int i = 0; i < 200; i++) { Thread t = new Thread(() -> new ArrayList<>(Collections.nCopies(1000, "x")).sort(null)); t.start(); t.join(); }
        for (int i = 0; i < 5; i++) { byte[][] garbage = new byte[200][]; for (int k = 0; k < 200; k++) garbage[k] = new byte[50000]; System.gc(); }
        System.out.println(sum + " " + map.size() + " " + map.get("k7").size());
        try { Object o = new long[Integer.MAX_VALUE - 8]; System.out.println("got it"); } catch (OutOfMemoryError e) { System.out.println("OutOfMemoryError"); }
    }
}
JAVA
export tmp
same "java: compile, run with two collectors, threads, direct buffers, zip" <<'SCRIPT'
javac -J-Xmx128m -d . "$tmp/Churn.java" && for gc in Serial G1; do java -Xmx96m -XX:+Use${gc}GC -cp . Churn; echo $?; done
java -Xmx64m -version >/dev/null 2>&1; echo $?
java -cp . Nothere 2>&1 | head -n 1
SCRIPT
done_testing
