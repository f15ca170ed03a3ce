SELECT exposure, detector, grade FROM summit.raw WHERE grade = 'good' AND band = 'r'
