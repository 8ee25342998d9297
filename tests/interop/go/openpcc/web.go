package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/openpcc/ohttp"
	"github.com/openpcc/ohttp/encoding/bhttp"
)

// serve starts the library's gateway on loopback, in front of a target that sends back what it gets. Requests may have
// chunks of `chunk` bytes; 0 leaves the library's default.
func (e *exchanges) serve(c command) (answer, error) {
	pair, found := e.gateways[c.Gateway]
	if !found {
		return nil, errors.New("no such gateway")
	}
	var limits []bhttp.Option
	if c.Chunk > 0 {
		limits = append(limits, bhttp.MaxRequestChunkLen(c.Chunk))
	}
	decoder, err := bhttp.NewRequestDecoder(limits...)
	if err != nil {
		return nil, err
	}
	gateway, err := ohttp.NewGateway(
		pair,
		ohttp.WithRequestDecoder(decoder),
		ohttp.WithRequestValidator(ohttp.NewHostnameAllowlist("target.example")),
	)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler:           ohttp.Middleware(gateway, http.HandlerFunc(echo)),
		ReadHeaderTimeout: time.Minute,
	}
	go server.Serve(listener) // ends with the process
	return answer{"url": "http://" + listener.Addr().String() + "/gateway"}, nil
}

// echo answers with what it got, whole or, with ?flush, in chunks.
func echo(w http.ResponseWriter, r *http.Request) {
	// All of it first: Go's HTTP/1 server drops what is unread once the response begins.
	content, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("x-saw", r.Method+" "+r.Host+r.URL.RequestURI())
	w.Header().Set("content-type", r.Header.Get("content-type"))
	if !r.URL.Query().Has("flush") {
		w.Header().Set("content-length", strconv.Itoa(len(content)))
	}
	w.WriteHeader(http.StatusCreated)
	w.Write(content)
}

// fetch sends one request through the library's client transport to a relay or gateway.
func fetch(c command) (answer, error) {
	var config ohttp.KeyConfig
	if err := config.UnmarshalBinary(c.KeyConfig); err != nil {
		return nil, err
	}
	transport, err := ohttp.NewTransport(config, c.URL)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(c.Method, c.Target, bytes.NewReader(c.Content))
	if err != nil {
		return nil, err
	}
	request.Header = toHeader(c.Headers)
	if c.Chunked {
		request.TransferEncoding = []string{"chunked"}
	}
	client := http.Client{Transport: transport, Timeout: time.Minute}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return answer{"message": message{
		Status:   response.StatusCode,
		Headers:  toPairs(response.Header),
		Content:  content,
		Trailers: toPairs(response.Trailer),
	}}, err
}
