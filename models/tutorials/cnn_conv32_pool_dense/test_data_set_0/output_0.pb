
BoutputJ
¡äº{²PÎR