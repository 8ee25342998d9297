// A peer for confsec's interop tests and benchmarks, made from github.com/openpcc/ohttp and what it stands on.
//
// The README two folders up lists the commands.
package main

import (
	"io"
	"log/slog"

	"confsec.invalid/interop/peer"
)

type (
	answer  = peer.Answer
	command = peer.Command
	octets  = peer.Octets
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	exchanges := newExchanges()
	peer.Serve(peer.Ops{
		"gateway_new":          exchanges.gatewayNew,
		"gateway_open":         exchanges.gatewayOpen,
		"gateway_respond":      exchanges.gatewayRespond,
		"client_encapsulate":   exchanges.clientEncapsulate,
		"client_open_response": exchanges.clientOpenResponse,
		"read_keys":            readKeys,
		"bhttp_decode":         bhttpDecode,
		"bhttp_encode":         bhttpEncode,
		"serve":                exchanges.serve,
		"fetch":                fetch,
		"bench":                bench,
	})
}
