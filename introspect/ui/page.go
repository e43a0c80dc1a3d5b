// Package ui is the live pages, of a node and of a fleet: their files and their HTTP handlers.
//
// In: nothing. Out: an http.Handler. Promised: the page loads nothing from other servers and
// runs only scripts among its files; the files contain no data of the node.
package ui

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
)

//go:embed *.html *.css *.svg js lib
var uiFiles embed.FS

// contentPolicy permits the page to load only from its own server, and to run only its own
// files.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; frame-ancestors 'none'; form-action 'none'"

// mediaTypes are the media types of the page's files; other files are not served. The system's
// own table could differ.
var mediaTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".mjs":  "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".json": "application/json",
	".svg":  "image/svg+xml",
	".png":  "image/png",
	".txt":  "text/plain; charset=utf-8",
}

type pageFile struct {
	body      []byte
	mediaType string
	tag       string // ETag
}

// Handler serves the live page of a node: / is the page, /ui/NAME its files. It requires no
// token: the files contain no data of the node.
func Handler() http.Handler { return serve("index.html") }

// FleetHandler is like Handler, for the live page of a fleet.
func FleetHandler() http.Handler { return serve("fleet.html") }

// pages are the files that are served at /, each by its own handler: their links are relative
// to it.
var pages = []string{"index.html", "fleet.html"}

func serve(page string) http.Handler {
	files := make(map[string]pageFile)
	err := fs.WalkDir(uiFiles, ".", func(name string, d fs.DirEntry, err error) error {
		mediaType, known := mediaTypes[path.Ext(name)]
		if err != nil || d.IsDir() || !known {
			return err
		}
		body, err := fs.ReadFile(uiFiles, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		files["/ui/"+name] = pageFile{body, mediaType, `"` + hex.EncodeToString(sum[:12]) + `"`}
		return nil
	})
	if err != nil {
		panic("ui: the page is missing in this program: " + err.Error()) // it is embedded
	}
	files["/"] = files["/ui/"+page]
	for _, p := range pages {
		delete(files, "/ui/"+p)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		if q.Method != http.MethodGet && q.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		f, ok := files[q.URL.Path]
		if !ok {
			http.Error(w, "page not found", http.StatusNotFound)
			return
		}
		h.Set("Cache-Control", "no-cache") // revalidate
		h.Set("ETag", f.tag)
		if q.Header.Get("If-None-Match") == f.tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		h.Set("Content-Type", f.mediaType)
		if q.Method == http.MethodGet {
			_, _ = w.Write(f.body) // an error means that the client is gone
		}
	})
}
