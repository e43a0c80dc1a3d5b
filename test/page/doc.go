// Package page looks at the live page in Chromium. Build tag page; make
// check-page.
package page
