// A peer for confsec's interop tests and benchmarks, made from golang.org/x/mod (sumdb/note, sumdb/tlog),
// github.com/transparency-dev/formats and github.com/transparency-dev/merkle: notes, checkpoints, proofs and tiles.
//
// The README one folder up lists the commands. Where two of the modules do the same, "variant" says which.
package main

import (
	"confsec.invalid/interop/peer"
)

func main() {
	peer.Serve(peer.Ops{
		"key_new":            newKey,
		"note_sign":          signNote,
		"note_verify":        verifyNote,
		"checkpoint_sign":    signCheckpoint,
		"checkpoint_verify":  verifyCheckpoint,
		"policy_satisfied":   policySatisfied,
		"log_proof_encode":   encodeLogProof,
		"log_proof_decode":   decodeLogProof,
		"tree_root":          treeRoot,
		"inclusion_prove":    proveInclusion,
		"inclusion_verify":   verifyInclusion,
		"consistency_prove":  proveConsistency,
		"consistency_verify": verifyConsistency,
		"tiles_write":        writeTiles,
		"tiles_read":         readTiles,
		"bench":              bench,
	})
}
