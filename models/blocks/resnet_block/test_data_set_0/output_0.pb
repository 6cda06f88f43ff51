
BoutputJ
%.Äíÿÿ0’Ç