package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/cloudflare/circl/hpke"
	"github.com/openpcc/ohttp"
	"github.com/openpcc/ohttp/encoding/bhttp"
	"github.com/openpcc/twoway"
)

// exchanges holds gateways and exchanges that wait for the next command, by number.
type exchanges struct {
	count     uint64
	gateways  map[uint64]ohttp.KeyPair
	clients   map[uint64]client
	responses map[uint64]response
}

type client struct {
	sealer  *twoway.RequestSealer
	chunked bool
}

type response struct {
	opener  *twoway.RequestOpener
	chunked bool
}

func newExchanges() *exchanges {
	return &exchanges{
		gateways:  make(map[uint64]ohttp.KeyPair),
		clients:   make(map[uint64]client),
		responses: make(map[uint64]response),
	}
}

func (e *exchanges) gatewayNew(c command) (answer, error) {
	pair, err := newKeyPair(c)
	if err != nil {
		return nil, err
	}
	keyConfig, err := pair.KeyConfig.MarshalBinary()
	if err != nil {
		return nil, err
	}
	keys, err := ohttp.KeyConfigs{pair.KeyConfig}.MarshalBinary()
	if err != nil {
		return nil, err
	}
	e.count++
	e.gateways[e.count] = pair
	return answer{"gateway": e.count, "key_config": octets(keyConfig), "keys": octets(keys)}, nil
}

func (e *exchanges) gatewayOpen(c command) (answer, error) {
	pair, found := e.gateways[c.Gateway]
	if !found {
		return nil, errors.New("no such gateway")
	}
	opener, err := openRequest(pair, bytes.NewReader(c.EncRequest), c.Chunked)
	if err != nil {
		return nil, err
	}
	parts, err := readParts(opener)
	if err != nil {
		return nil, err
	}
	e.count++
	e.responses[e.count] = response{opener, c.Chunked}
	return answer{"exchange": e.count, "parts": parts}, nil
}

func (e *exchanges) gatewayRespond(c command) (answer, error) {
	waiting, found := e.responses[c.Exchange]
	if !found {
		return nil, errors.New("no such exchange")
	}
	delete(e.responses, c.Exchange)
	mediaType, options := form(bhttp.ResponseMediaType, bhttp.ChunkedResponseMediaType, waiting.chunked)
	sealer, err := waiting.opener.NewResponseSealer(&partsReader{c.Parts}, mediaType, options...)
	if err != nil {
		return nil, err
	}
	sealed, err := io.ReadAll(sealer)
	return answer{"enc_response": octets(sealed)}, err
}

func (e *exchanges) clientEncapsulate(c command) (answer, error) {
	var config ohttp.KeyConfig
	if err := config.UnmarshalBinary(c.KeyConfig); err != nil {
		return nil, err
	}
	sealer, err := sealRequest(config, &partsReader{c.Parts}, c.Chunked)
	if err != nil {
		return nil, err
	}
	sealed, err := io.ReadAll(sealer)
	if err != nil {
		return nil, err
	}
	e.count++
	e.clients[e.count] = client{sealer, c.Chunked}
	return answer{"exchange": e.count, "enc_request": octets(sealed)}, nil
}

func (e *exchanges) clientOpenResponse(c command) (answer, error) {
	waiting, found := e.clients[c.Exchange]
	if !found {
		return nil, errors.New("no such exchange")
	}
	delete(e.clients, c.Exchange)
	mediaType, options := form(bhttp.ResponseMediaType, bhttp.ChunkedResponseMediaType, waiting.chunked)
	opener, err := waiting.sealer.NewResponseOpener(bytes.NewReader(c.EncResponse), mediaType, options...)
	if err != nil {
		return nil, err
	}
	parts, err := readParts(opener)
	return answer{"parts": parts}, err
}

func readKeys(c command) (answer, error) {
	var configs ohttp.KeyConfigs
	if err := configs.UnmarshalBinary(c.Keys); err != nil {
		return nil, err
	}
	encoded := []octets{}
	for _, config := range configs {
		keyConfig, err := config.MarshalBinary()
		if err != nil {
			return nil, err
		}
		encoded = append(encoded, keyConfig)
	}
	return answer{"key_configs": encoded}, nil
}

func newKeyPair(c command) (ohttp.KeyPair, error) {
	kem := hpke.KEM(c.Kem)
	if !kem.IsValid() {
		return ohttp.KeyPair{}, fmt.Errorf("this peer has no KEM 0x%04x", c.Kem)
	}
	public, secret, err := kem.Scheme().GenerateKeyPair()
	if err != nil {
		return ohttp.KeyPair{}, err
	}
	algorithm := ohttp.SymmetricAlgorithm{KDFID: hpke.KDF(c.Kdf), AEADID: hpke.AEAD(c.Aead)}
	return ohttp.KeyPair{
		SecretKey: secret,
		KeyConfig: ohttp.KeyConfig{
			KeyID:               c.KeyID,
			KemID:               kem,
			PublicKey:           public,
			SymmetricAlgorithms: []ohttp.SymmetricAlgorithm{algorithm},
		},
	}, nil
}

func sealRequest(config ohttp.KeyConfig, plaintext io.Reader, chunked bool, options ...twoway.Option) (*twoway.RequestSealer, error) {
	algorithm := config.SymmetricAlgorithms[0]
	suite := hpke.NewSuite(config.KemID, algorithm.KDFID, algorithm.AEADID)
	sender, err := twoway.NewRequestSender(suite, config.KeyID, config.PublicKey, rand.Reader)
	if err != nil {
		return nil, err
	}
	mediaType, formOptions := form(bhttp.RequestMediaType, bhttp.ChunkedRequestMediaType, chunked)
	return sender.NewRequestSealer(plaintext, mediaType, append(formOptions, options...)...)
}

func openRequest(pair ohttp.KeyPair, ciphertext io.Reader, chunked bool, options ...twoway.Option) (*twoway.RequestOpener, error) {
	start := make([]byte, twoway.BinaryRequestHeaderLen)
	if _, err := io.ReadFull(ciphertext, start); err != nil {
		return nil, err
	}
	header, err := twoway.ParseRequestHeaderFrom(start)
	if err != nil {
		return nil, err
	}
	key, err := pair.FindSecretKey(context.Background(), header)
	if err != nil {
		return nil, err
	}
	receiver, err := twoway.NewRequestReceiverWithCustomSuite(key.Suite, key.KeyID, key.Key, rand.Reader)
	if err != nil {
		return nil, err
	}
	mediaType, formOptions := form(bhttp.RequestMediaType, bhttp.ChunkedRequestMediaType, chunked)
	whole := io.MultiReader(bytes.NewReader(start), ciphertext)
	return receiver.NewRequestOpener(whole, mediaType, append(formOptions, options...)...)
}

func form(whole, chunks bhttp.MediaType, chunked bool) ([]byte, []twoway.Option) {
	if !chunked {
		return whole.Bytes(), nil
	}
	// 2^14 bytes is what every receiver must take (chunked OHTTP, section 3).
	return chunks.Bytes(), []twoway.Option{twoway.EnableChunking(), twoway.WithMaxChunkPlaintextLen(1 << 14)}
}

// partsReader gives one part to each read that has room for it, which makes one chunk of it.
type partsReader struct {
	parts []octets
}

func (r *partsReader) Read(p []byte) (int, error) {
	if len(r.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.parts[0])
	r.parts[0] = r.parts[0][n:]
	if len(r.parts[0]) == 0 {
		r.parts = r.parts[1:]
	}
	return n, nil
}

// readParts reads to the end; each part is what one read returned.
func readParts(r io.Reader) ([]octets, error) {
	parts := []octets{}
	buffer := make([]byte, 1<<16)
	for {
		n, err := r.Read(buffer)
		if n > 0 {
			parts = append(parts, bytes.Clone(buffer[:n]))
		}
		if err == io.EOF { // a wrapped one says that the stream was cut
			return parts, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
