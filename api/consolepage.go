package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tarn-sync/tarn/api/console"
)

// front is what the root of the api says.
const front = `This is the api of Tarn.

/console       for operators: is the mirror right, and what waits or failed
/docs          the HTTP API
/openapi.json  the same, for programs
`

// serveConsole adds the console's page and its files. They hold no data and need no
// token; what they show comes from /v1.
func serveConsole(engine *gin.Engine) {
	page := gin.WrapH(http.StripPrefix("/console", console.Handler()))
	engine.GET("/console", page)
	engine.GET("/console/*file", page)
	engine.GET("/", func(c *gin.Context) { c.String(http.StatusOK, front) })
}
