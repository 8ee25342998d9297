// A peer for confsec's interop tests, made from github.com/chris-wood/ohttp-go: one-shot Oblivious HTTP.
//
// The README one folder up lists the commands.
package main

import (
	"errors"
	"slices"

	"github.com/chris-wood/ohttp-go"
	"github.com/cloudflare/circl/hpke"

	"confsec.invalid/interop/peer"
)

var errChunked = errors.New("this peer is asked for one-shot messages only")

// exchanges holds gateways and exchanges that wait for the next command, by number.
type exchanges struct {
	count     uint64
	gateways  map[uint64]*ohttp.Gateway
	clients   map[uint64]ohttp.EncapsulatedRequestContext
	responses map[uint64]*ohttp.GatewayResponseContext
}

func main() {
	e := &exchanges{
		gateways:  make(map[uint64]*ohttp.Gateway),
		clients:   make(map[uint64]ohttp.EncapsulatedRequestContext),
		responses: make(map[uint64]*ohttp.GatewayResponseContext),
	}
	peer.Serve(peer.Ops{
		"gateway_new":          e.gatewayNew,
		"gateway_open":         e.gatewayOpen,
		"gateway_respond":      e.gatewayRespond,
		"client_encapsulate":   e.clientEncapsulate,
		"client_open_response": e.clientOpenResponse,
	})
}

func (e *exchanges) gatewayNew(c peer.Command) (peer.Answer, error) {
	config, err := ohttp.NewConfig(c.KeyID, hpke.KEM(c.Kem), hpke.KDF(c.Kdf), hpke.AEAD(c.Aead))
	if err != nil {
		return nil, err
	}
	gateway := ohttp.NewDefaultGateway([]ohttp.PrivateConfig{config})
	e.count++
	e.gateways[e.count] = gateway
	return peer.Answer{
		"gateway":    e.count,
		"key_config": peer.Octets(config.Config().Marshal()),
		"keys":       peer.Octets(gateway.MarshalConfigs()),
	}, nil
}

func (e *exchanges) gatewayOpen(c peer.Command) (peer.Answer, error) {
	if c.Chunked {
		return nil, errChunked
	}
	gateway, found := e.gateways[c.Gateway]
	if !found {
		return nil, errors.New("no such gateway")
	}
	encapsulated, err := ohttp.UnmarshalEncapsulatedRequest(c.EncRequest)
	if err != nil {
		return nil, err
	}
	request, response, err := gateway.DecapsulateRequest(encapsulated)
	if err != nil {
		return nil, err
	}
	e.count++
	e.responses[e.count] = response
	return peer.Answer{"exchange": e.count, "parts": []peer.Octets{request}}, nil
}

func (e *exchanges) gatewayRespond(c peer.Command) (peer.Answer, error) {
	response, found := e.responses[c.Exchange]
	if !found {
		return nil, errors.New("no such exchange")
	}
	delete(e.responses, c.Exchange)
	encapsulated, err := response.EncapsulateResponse(slices.Concat(c.Parts...))
	return peer.Answer{"enc_response": peer.Octets(encapsulated.Marshal())}, err
}

func (e *exchanges) clientEncapsulate(c peer.Command) (peer.Answer, error) {
	if c.Chunked {
		return nil, errChunked
	}
	config, err := ohttp.UnmarshalPublicConfig(c.KeyConfig)
	if err != nil {
		return nil, err
	}
	client, err := ohttp.NewDefaultClient(config)
	if err != nil {
		return nil, err
	}
	encapsulated, context, err := client.EncapsulateRequest(slices.Concat(c.Parts...))
	if err != nil {
		return nil, err
	}
	e.count++
	e.clients[e.count] = context
	return peer.Answer{"exchange": e.count, "enc_request": peer.Octets(encapsulated.Marshal())}, nil
}

func (e *exchanges) clientOpenResponse(c peer.Command) (peer.Answer, error) {
	context, found := e.clients[c.Exchange]
	if !found {
		return nil, errors.New("no such exchange")
	}
	delete(e.clients, c.Exchange)
	encapsulated, err := ohttp.UnmarshalEncapsulatedResponse(c.EncResponse)
	if err != nil {
		return nil, err
	}
	response, err := context.DecapsulateResponse(encapsulated)
	return peer.Answer{"parts": []peer.Octets{response}}, err
}
