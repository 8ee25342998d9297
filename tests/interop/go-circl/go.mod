module confsec.invalid/interop-circl

go 1.25.4

require (
	confsec.invalid/interop v0.0.0
	github.com/cloudflare/circl v1.6.5
)

require golang.org/x/crypto v0.54.0 // indirect

replace confsec.invalid/interop => ../go
