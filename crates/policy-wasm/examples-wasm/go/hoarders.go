// A policy in Go: shares by weight, and whoever holds more than half of all that there is of one kind counts
// as if it had four times its share.
//
// Build it (Go 1.24 or later) with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags='-s -w' -o hoarders.wasm .
package main

import "unsafe"

// The host writes here; the types of the fields are those of the table in docs/policies.md.
var view struct {
	nowMs, waitingSinceMs, sharePpb, demandPpb, weightMilli uint64
	priority                                                int64
	offers, arrival                                         uint64
	allocated, total                                        [4]int64
	depth                                                   uint64
	reserved                                                [15]uint64
}

const penalty = 4

//go:wasmexport mesos_policy_abi
func abi() int32 { return 1 }

//go:wasmexport mesos_policy_view
func address() uint32 { return uint32(uintptr(unsafe.Pointer(&view))) }

//go:wasmexport mesos_policy_score
func score() int64 {
	share := view.sharePpb * 1000 / max(view.weightMilli, 1)
	if hoards() {
		share *= penalty
	}
	return int64(min(share, 1<<62))
}

func hoards() bool {
	for kind, total := range view.total {
		if total > 0 && view.allocated[kind] > total/2 {
			return true
		}
	}
	return false
}

// A library has no main of its own, but the compiler wants one.
func main() {}
