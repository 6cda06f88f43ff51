
BlogitsJ
ΙFιη°Ϊτί