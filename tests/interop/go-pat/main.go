// A peer for confsec's interop tests, made from github.com/cloudflare/pat-go: tokens of type 0x0002.
//
// The README one folder up lists the commands. The module has no header fields and no HTTP, and no type 0xDA7A. Its
// batches put a length before every request and response, as drafts older than ours did, so they are not asked for.
package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"

	"github.com/cloudflare/pat-go/tokens"
	"github.com/cloudflare/pat-go/tokens/type2"
	"github.com/cloudflare/pat-go/util"

	"confsec.invalid/interop/peer"
)

// exchanges holds token requests that wait for their response, by number.
type exchanges struct {
	waiting []type2.BasicPublicTokenRequestState
}

func main() {
	e := &exchanges{}
	peer.Serve(peer.Ops{
		"token_request":    e.tokenRequest,
		"token_finalize":   e.tokenFinalize,
		"token_issue":      tokenIssue,
		"token_verify":     tokenVerify,
		"challenge_encode": challengeEncode,
		"challenge_decode": challengeDecode,
	})
}

func (e *exchanges) tokenRequest(c peer.Command) (peer.Answer, error) {
	key, err := util.UnmarshalTokenKey(c.TokenKey)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 32)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	keyID := sha256.Sum256(c.TokenKey)
	state, err := type2.NewBasicPublicClient().CreateTokenRequest(c.Challenge, nonce, keyID[:], key)
	if err != nil {
		return nil, err
	}
	e.waiting = append(e.waiting, state)
	return peer.Answer{"exchange": len(e.waiting) - 1, "token_request": peer.Octets(state.Request().Marshal())}, nil
}

func (e *exchanges) tokenFinalize(c peer.Command) (peer.Answer, error) {
	if c.Exchange >= uint64(len(e.waiting)) {
		return nil, errors.New("no such exchange")
	}
	token, err := e.waiting[c.Exchange].FinalizeToken(c.TokenResponse)
	return peer.Answer{"token": peer.Octets(token.Marshal())}, err
}

func tokenIssue(c peer.Command) (peer.Answer, error) {
	key, err := x509.ParsePKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return nil, err
	}
	rsaKey, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an RSA key")
	}
	request := new(type2.BasicPublicTokenRequest)
	if !request.Unmarshal(c.TokenRequest) {
		return nil, errors.New("the token request is malformed")
	}
	response, err := type2.NewBasicPublicIssuer(rsaKey).Evaluate(request)
	return peer.Answer{"token_response": peer.Octets(response)}, err
}

// The module verifies a token when it makes one, and leaves origins to do the same.
func tokenVerify(c peer.Command) (peer.Answer, error) {
	key, err := util.UnmarshalTokenKey(c.TokenKey)
	if err != nil {
		return nil, err
	}
	token, err := type2.UnmarshalToken(c.Token)
	if err != nil {
		return nil, err
	}
	digest := sha512.Sum384(token.AuthenticatorInput())
	options := &rsa.PSSOptions{Hash: crypto.SHA384, SaltLength: crypto.SHA384.Size()}
	return peer.Answer{}, rsa.VerifyPSS(key, crypto.SHA384, digest[:], token.Authenticator, options)
}

func challengeEncode(c peer.Command) (peer.Answer, error) {
	challenge := tokens.TokenChallenge{
		TokenType:       c.TokenType,
		IssuerName:      c.IssuerName,
		RedemptionNonce: c.RedemptionContext,
		OriginInfo:      c.Origins,
	}
	return peer.Answer{"challenge": peer.Octets(challenge.Marshal())}, nil
}

func challengeDecode(c peer.Command) (peer.Answer, error) {
	challenge, err := tokens.UnmarshalTokenChallenge(c.Challenge)
	if err != nil {
		return nil, err
	}
	return peer.Answer{
		"token_type":         challenge.TokenType,
		"issuer_name":        challenge.IssuerName,
		"redemption_context": peer.Octets(challenge.RedemptionNonce),
		"origins":            challenge.OriginInfo,
	}, nil
}
