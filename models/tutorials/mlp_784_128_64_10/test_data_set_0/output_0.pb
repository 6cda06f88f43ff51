
BoutputJ
)f«Çw½‚ÅË