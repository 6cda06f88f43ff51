
BlogitsJ
F’Åfe-Wr™\