# gs: Ghostscript renders a generated PostScript document: text in several fonts, dictionaries and strings, clipped paths.
. "$(dirname "$0")/driver.sh"

case $verb in
prepare)
    driver_require gs awk
    awk 'BEGIN {
        seed = 7
        print "%!PS\n/fonts [/Times-Roman /Helvetica /Courier /Times-Italic /Palatino-Roman] def"
        for (page = 1; page <= 24; page++) {
            printf "/book 200 dict def 0 1 1999 { dup 200 mod exch 20 string cvs book 3 1 roll put } for\n"
            for (row = 0; row < 60; row++) {
                seed = (seed * 16807) % 2147483647
                printf "fonts %d get findfont %d scalefont setfont 40 %d moveto (", seed % 5, 7 + seed % 6, 770 - row * 12
                for (word = 0; word < 12; word++) {
                    seed = (seed * 16807) % 2147483647
                    printf "%s ", substr("allocatorsmagazineslabbuddyzoneregionpagemap", 1 + seed % 36, 3 + seed % 7)
                }
                print ") show"
            }
            for (shape = 0; shape < 150; shape++) {
                seed = (seed * 16807) % 2147483647
                printf "gsave newpath %d %d moveto", seed % 600, seed % 800
                for (point = 0; point < 8; point++) {
                    seed = (seed * 16807) % 2147483647
                    printf " %d %d %d %d %d %d curveto", seed % 600, seed % 790, seed % 610, seed % 780, seed % 590, seed % 770
                }
                printf " closepath clip %.2f setgray fill grestore\n", 0.5 + (seed % 50) / 100
            }
            print "showpage"
        }
    }' > "$dir/input.ps"
    ;;
run)
    driver_measure gs -q -dBATCH -dNOPAUSE -dSAFER -sDEVICE=pnmraw -r110 -sOutputFile=- "$dir/input.ps" | cksum
    ;;
*) driver_unknown ;;
esac
