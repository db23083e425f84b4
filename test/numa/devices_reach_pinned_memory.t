#!/bin/bash
# With an IOMMU: a real (emulated) device reads and writes DMA buffers through a VFIO container, as long as they are
# there and no longer, and they stay where they are.
. "$(dirname "$0")/lib.sh"

device=$builddir/test/numa/device
[ -x "$device" ] || skip_all "test/numa/device is not built"
[ -e "$bed/root/modules/vfio_iommu_type1.ko" ] || skip_all "the test bed's kernel has no VFIO (test/numa/setup $bed)"

# devices BITS DEVICE: as in_guest, with an IOMMU for addresses of BITS bits and the edu device, of which "device CASE"
# makes use.
devices() {
	options=(--iommu "$1" --device "$2" --file "$device")
	in_guest 1:320 < <(
		cat <<-END
			device() {
				$device "\$@"
				status=\$?
				cases=\$((cases + 1))
				[ \$status -le 1 ] || echo "not ok - device \$* ends in order: status \$status"
			}
			if [ ! -e /dev/vfio/vfio ]; then
				echo "not ok - there is a /dev/vfio/vfio"
			fi
			echo 4 >/proc/sys/vm/nr_hugepages
		END
		cat
	)
}

# The addresses of a process fit: they are what the device uses.
devices 48 edu,dma_mask=0xffffffffffff <<'END'
device errors
device levels
device stays
device unmapped
device fork
device limit
device no_ring
device entries
device window
END

# They do not: the IOMMU has fewer bits, the device 28.
devices 39 edu <<'END'
device narrow
device window
device levels
END
done_testing
