package peer

import (
	"encoding/hex"
	"encoding/json"
)

// Octets are bytes, in hexadecimal on the wire.
type Octets []byte

func (o Octets) MarshalJSON() ([]byte, error) {
	return json.Marshal(hex.EncodeToString(o))
}

func (o *Octets) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	decoded, err := hex.DecodeString(text)
	*o = decoded
	return err
}

// Command has the fields of all commands; each uses some.
type Command struct {
	Op string `json:"op"`

	Gateway  uint64 `json:"gateway"`
	Exchange uint64 `json:"exchange"`

	KeyID uint8  `json:"key_id"`
	Kem   uint16 `json:"kem"`
	Kdf   uint16 `json:"kdf"`
	Aead  uint16 `json:"aead"`

	KeyConfig   Octets   `json:"key_config"`
	Keys        Octets   `json:"keys"`
	EncRequest  Octets   `json:"enc_request"`
	EncResponse Octets   `json:"enc_response"`
	Parts       []Octets `json:"parts"`
	Chunked     bool     `json:"chunked"`

	Message       json.RawMessage `json:"message"`
	Kind          string          `json:"kind"`
	Indeterminate bool            `json:"indeterminate"`

	URL     string      `json:"url"`
	Target  string      `json:"target"`
	Method  string      `json:"method"`
	Headers [][2]string `json:"headers"`
	Content Octets      `json:"content"`

	// Tokens and blind signatures.
	TokenType     uint16  `json:"token_type"`
	Variant       string  `json:"variant"`
	PrivateKey    Octets  `json:"private_key"`
	PublicKey     Octets  `json:"public_key"`
	TokenKey      Octets  `json:"token_key"`
	Msg           Octets  `json:"msg"`
	InputMsg      Octets  `json:"input_msg"`
	BlindedMsg    Octets  `json:"blinded_msg"`
	BlindSig      Octets  `json:"blind_sig"`
	Sig           Octets  `json:"sig"`
	Info          *Octets `json:"info"`
	Challenge     Octets  `json:"challenge"`
	TokenRequest  Octets  `json:"token_request"`
	TokenResponse Octets  `json:"token_response"`
	Token         Octets  `json:"token"`

	IssuerName        string   `json:"issuer_name"`
	RedemptionContext Octets   `json:"redemption_context"`
	Origins           []string `json:"origins"`

	// Evidence of a TEE with what travels beside it, by name, and when it has to be valid, in seconds since 1970.
	Evidence map[string]Octets `json:"evidence"`
	At       int64             `json:"at"`
	// What the verification has to end with, if not well: only TDX.
	Refusal string `json:"refusal"`

	// Logs: notes and the keys that sign them, trees by their entries or their hashes, tiles by their paths.
	Name         string            `json:"name"`
	SigningKeys  []string          `json:"signing_keys"`
	VerifierKeys []string          `json:"verifier_keys"`
	Text         string            `json:"text"`
	Note         Octets            `json:"note"`
	Origin       string            `json:"origin"`
	Policy       Octets            `json:"policy"`
	Entries      []Octets          `json:"entries"`
	Leaf         Octets            `json:"leaf"`
	Index        uint64            `json:"index"`
	OldSize      uint64            `json:"old_size"`
	TreeSize     uint64            `json:"tree_size"`
	OldRoot      Octets            `json:"old_root"`
	Root         Octets            `json:"root"`
	Hashes       []Octets          `json:"hashes"`
	Tiles        map[string]Octets `json:"tiles"`
	Proof        Octets            `json:"proof"`
	Extra        Octets            `json:"extra"`
	Folder       string            `json:"folder"`

	What       string `json:"what"`
	Size       int    `json:"size"`
	Iterations int    `json:"iterations"`
	Chunk      int    `json:"chunk"`
}
